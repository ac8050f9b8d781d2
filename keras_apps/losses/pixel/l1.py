"""The mean absolute difference of two images."""

import tensorflow as tf

from keras_apps.losses.pixel import _images


class L1Loss:
    """L1 loss: how far a pixel lies from its target in the mean.

    value_i = mean_hwc |x - t|

    Its best guess where the target is uncertain is the median, which is sharper than the mean of a squared loss.

    Call:    image x, target t: [b, H, W, C] in [0, 1].
    Returns: [b], >= 0, in units of the images; 0 with gradient 0 where they are equal. Computed in float32 (float64
             for float64), the image's dtype.
    Raises:  ValueError, when called, for images of two sizes.
    Source:  Zhao, Gallo, Frosio, Kautz, IEEE TCI 2017, arXiv:1511.08861, section III-A.   Differs: no.
    """

    def __call__(self, image, target):
        image, target = _images.both(image, target)
        return _images.mean(tf.abs(image - target))
