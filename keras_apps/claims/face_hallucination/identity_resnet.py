"""With pairs a hallucinated face is more often recognised: HR > SiGAN > bicubic, and > the same GAN without; ResNet.

Claimed: top-1 of restored faces among whole ones, by a recogniser of other persons that finds more than three times
what chance does. ORL, 8 x 8 to 32 x 32, three splits of persons: 30 train generator and recogniser, the images of the
other ten ask a gallery of one whole image of all 40.
Source: Hsu, Lin, Su and Cheung, IEEE TIP 2019, arXiv:1807.08370, tables of top-1. UR-DGN, DFCG, PRSR, SR-GAN and
Wavelet-SRNet, which stand there as well, are not built.
Shrunk: 32 and 24 channels, codes of 32 numbers, 500 steps at a rate of 1e-3; the generator adds to the bicubic image;
our recogniser in place of FaceNet.
"""

from keras_apps.claims.face_hallucination._orl import identity

CLAIM = identity("resnet", 24)
