"""With pairs a hallucinated face is more often recognised: HR > SiGAN > bicubic, and > the same GAN without; DenseNet.

As `identity_resnet` with dense blocks.
"""

from keras_apps.claims.face_hallucination._orl import identity

CLAIM = identity("densenet", 24)
