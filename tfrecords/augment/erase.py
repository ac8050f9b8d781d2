"""Random erasing."""

import tensorflow as tf


class EraseAugment:
    """A random rectangle of the image is replaced by the image's mean.

    Args:    share: of the images, in [0, 1].  area: largest area of the rectangle, share of the image, in (0, 1];
             each side is drawn between half and all of sqrt(area) x the image's side.
    Call:    images [b,H,W,C], seed [2] int32, strength in [0, 1] scales the share.
    Returns: [b,H,W,C]; the input at strength 0.
    Raises:  ValueError for a share outside [0, 1] or an area outside (0, 1].
    Source:  inspired by Zhong et al., AAAI 2020, arXiv:1708.04896 (their rectangle has another law).
    """

    def __init__(self, share=0.5, area=0.2):
        if not 0 <= share <= 1 or not 0 < area <= 1:
            raise ValueError(f"erase(share={share}, area={area}) needs share in [0, 1] and area in (0, 1].")
        self.share, self.area = share, area

    def __call__(self, images, seed, strength=1.0):
        shape = tf.shape(images)
        draws = tf.random.stateless_uniform([5, shape[0], 1, 1, 1], seed)
        side = self.area ** 0.5 * (0.5 + 0.5 * draws[:2])
        start = draws[2:4] * (1.0 - side)
        y = tf.linspace(0.0, 1.0, shape[1])[None, :, None, None]
        x = tf.linspace(0.0, 1.0, shape[2])[None, None, :, None]
        inside = (y >= start[0]) & (y <= start[0] + side[0]) & (x >= start[1]) & (x <= start[1] + side[1])
        inside &= draws[4] < self.share * strength
        return tf.where(inside, tf.reduce_mean(images, axis=[1, 2], keepdims=True), images)
