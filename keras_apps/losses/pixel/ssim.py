"""Structural similarity: do two images agree in brightness, contrast and pattern, place by place?"""

import math

import tensorflow as tf

from keras_apps.losses.pixel import _images

_C1, _C2 = 0.01**2, 0.03**2     # (K L)^2 with K1 = 0.01, K2 = 0.03 and the range L = 1


class SsimLoss:
    """SSIM loss: one minus the structural similarity, the mean over all places of a Gaussian window.

    value_i = 1 - mean_places,c  (2 m_x m_t + C1) (2 s_xt + C2) / ((m_x^2 + m_t^2 + C1) (s_xx + s_tt + C2))

    m are the means under the window at a place, s the variances and covariance there (by the window's weights, not
    n - 1), C1 = 0.01^2, C2 = 0.03^2. Only places where the window lies wholly inside count.

    Args:    window: odd side of the window >= 1, in pixels; 1 compares brightness alone. A smaller image has the
             largest odd window that fits into its shorter side.  sigma: of the Gaussian, > 0, in pixels.
    Call:    image x, target t: [b, H, W, C] in [0, 1].
    Returns: [b] in [0, 2), above 1 only where an image varies against its target; 0 with gradient 0 where they are
             equal. Computed in float32 (float64 for float64), the image's dtype.
    Raises:  ValueError for a window that is even or below 1, a sigma that is not above 0 and, when called, for images
             of two sizes.
    Source:  Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 2004, eq. 13; as a loss: Zhao et al.,
             IEEE TCI 2017, arXiv:1511.08861, section III-B.
    Differs: every channel by itself; there, grey images.
    """

    def __init__(self, window=11, sigma=1.5):
        if window != int(window) or window < 1 or window % 2 == 0:
            raise ValueError(f"`window` is {window} but must be an odd number of pixels of at least 1; use 11.")
        if not (math.isfinite(sigma) and sigma > 0):
            raise ValueError(f"`sigma` is {sigma} but must be a finite number of pixels above 0; use 1.5.")
        self.window = int(window)
        self.sigma = float(sigma)

    def __call__(self, image, target):
        image, target = _images.both(image, target)
        # Moments of the sum u and the difference v of the images say the same as the five of x and t:
        # 2 m_x m_t = (m_u^2 - m_v^2) / 2,  m_x^2 + m_t^2 = (m_u^2 + m_v^2) / 2, and so for s. That is one map less
        # to blur, and what is left of the formula has no difference of numbers that nearly agree.
        total, change = image + target, image - target
        moments = self._blurred(tf.concat([total, change, tf.square(total), tf.square(change)], axis=3))
        total, change, total_power, change_power = tf.split(moments, 4, axis=3)
        total, change = tf.square(total), tf.square(change)
        darker = 2 * change / (total + change + 2 * _C1)                    # 1 - the first factor, in [0, 2)
        # Rounding may leave the variance of a flat place just below 0.
        total_power, change_power = tf.nn.relu(total_power - total), tf.nn.relu(change_power - change)
        unlike = 2 * change_power / (total_power + change_power + 2 * _C2)  # 1 - the second
        return _images.mean(darker + unlike * (1 - darker))

    def _blurred(self, maps):
        shorter = tf.reduce_min(tf.shape(maps)[1:3])
        side = tf.minimum(self.window, shorter - 1 + shorter % 2)
        places = tf.cast(tf.range(side), maps.dtype) - tf.cast(side - 1, maps.dtype) / 2
        weights = tf.exp(-tf.square(places / self.sigma) / 2)
        weights = tf.tile((weights / tf.reduce_sum(weights))[:, None, None, None], [1, 1, maps.shape[3], 1])
        maps = tf.nn.depthwise_conv2d(maps, weights, [1, 1, 1, 1], "VALID")
        return tf.nn.depthwise_conv2d(maps, tf.transpose(weights, [1, 0, 2, 3]), [1, 1, 1, 1], "VALID")
