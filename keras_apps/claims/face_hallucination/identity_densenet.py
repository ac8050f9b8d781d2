"""With pairs a hallucinated face is more often recognised: HR > SiGAN > bicubic, and > the same GAN without; DenseNet.

Claimed: as `identity_resnet`, with dense blocks.
Source: Hsu et al., arXiv:1807.08370, tables of top-1.
Shrunk: as `identity_resnet`; a growth of 6, 350 steps.
"""

from keras_apps.claims.face_hallucination._orl import identity

CLAIM = identity("densenet", 30, steps=350, checkpoint_every=350)
