"""An absolute difference that is smooth at zero."""

import tensorflow as tf

from keras_apps.losses.pixel import _images


class CharbonnierLoss:
    """Charbonnier loss: absolute differences, but squared ones where they are smaller than epsilon.

    value_i = mean_hwc (sqrt((x - t)^2 + epsilon^2) - epsilon)

    Args:    epsilon: in [1e-6, 1], in units of the images; a step of 8 bits is 0.004. Smaller = nearer to L1.
    Call:    image x, target t: [b, H, W, C] in [0, 1].
    Returns: [b], >= 0, in units of the images; 0 with gradient 0 where they are equal. Computed in float32 (float64
             for float64), the image's dtype.
    Raises:  ValueError for an epsilon out of range and, when called, for images of two sizes.
    Source:  Charbonnier, Blanc-Feraud, Aubert, Barlaud, ICIP 1994; as a loss of images: Lai et al., CVPR 2017,
             arXiv:1704.03915, section 3.2.
    Differs: epsilon is taken off, so that equal images have 0; the gradient is the same.
    """

    def __init__(self, epsilon=1e-3):
        if not 1e-6 <= epsilon <= 1:        # its square must not vanish in float32
            raise ValueError(f"`epsilon` is {epsilon} but must lie in [1e-6, 1]; use 0.001.")
        self.epsilon = float(epsilon)

    def __call__(self, image, target):
        image, target = _images.both(image, target)
        squares = tf.square(image - target)
        # The formula multiplied out: its difference of two roots would drown small errors in rounding.
        return _images.mean(squares / (tf.sqrt(squares + self.epsilon**2) + self.epsilon))
