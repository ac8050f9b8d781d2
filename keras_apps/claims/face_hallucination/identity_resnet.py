"""With pairs a hallucinated face is more often recognised: HR > SiGAN > bicubic, and > the same GAN without; ResNet.

Hsu, Lin, Su and Cheung, IEEE TIP 2019, arXiv:1807.08370, tables of top-1. ORL, 8 x 8 to 32 x 32, in three splits of
persons: 30 train generator and recogniser, the images of the other ten ask a gallery of one whole image of all 40.

Shrunk: networks of 32 and 24 channels, 800 steps. Our recogniser in place of FaceNet. The other methods of the
published tables (UR-DGN, DFCG, PRSR, SR-GAN, Wavelet-SRNet) are not built.
"""

from keras_apps.claims.face_hallucination._orl import identity

CLAIM = identity("resnet", 19)
