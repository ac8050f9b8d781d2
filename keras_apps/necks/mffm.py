"""Fusion of the middle and high maps."""

import tensorflow as tf

from keras_apps.build import build
from keras_apps.norms import make_norm

layers = tf.keras.layers


class MffmNeck(tf.keras.layers.Layer):
    """Multi-layer feature fusion: one map from middle and high levels, pooled beside the last map.

    fused = relu(norm(conv3x3([r(map3), r(map4), r(map5)]))),   r = relu(norm(conv1x1(.))) brought to map4's size
    feature = [pool(fused), pool(map5)]

    A larger map is made smaller by averaging, a smaller one larger by repeating.

    Args:    pooling: method string, of which fused and last map have their own; the caller's fact.
             widths: channels that the three maps are reduced to.  fused: channels of the fused map.
             norm: "batch" | "group" | "layer" ..., as in `keras_apps/norms.py`.
    Call:    maps {"map3", "map4", "map5"}, each [b,h,w,d] with static sides, training -> [b,D].
    Raises:  ValueError for other than three widths, one below 1, or another norm.
    Source:  inspired by Hsu et al., VCIP 2019 Grand Challenge (described, not printed in detail), and the base fusion
             of Zhao et al., AAAI 2019, arXiv:1811.04533, section 3.1.
    """

    def __init__(self, pooling, widths=(256, 256, 512), fused=512, norm="batch"):
        super().__init__()
        if len(widths) != 3 or min(*widths, fused) < 1:
            raise ValueError(f"mffm(widths={widths}, fused={fused}) needs three widths, all >= 1.")
        self.reduce = [tf.keras.Sequential([layers.Conv2D(width, 1, use_bias=False, kernel_initializer="he_normal"),
                                            make_norm(norm, width), layers.ReLU()]) for width in widths]
        self.fuse = tf.keras.Sequential([
            layers.Conv2D(fused, 3, padding="same", use_bias=False, kernel_initializer="he_normal"),
            make_norm(norm, fused), layers.ReLU()])
        self.poolings = [build("poolings", pooling) for _ in range(2)]

    def call(self, maps, training=False):
        side = maps["map4"].shape[1:3]
        parts = [_resized(reduce(maps[name], training=training), side)
                 for reduce, name in zip(self.reduce, ("map3", "map4", "map5"))]
        fused = self.fuse(tf.concat(parts, axis=3), training=training)
        return tf.concat([pool(one) for pool, one in zip(self.poolings, (fused, maps["map5"]))], axis=1)


def _resized(maps, side):
    """A map at another size: whole multiples by mean or repetition, others by linear interpolation."""
    own = maps.shape[1:3]
    if list(own) == list(side):
        return maps
    if all(mine % wanted == 0 for mine, wanted in zip(own, side)):
        steps = [mine // wanted for mine, wanted in zip(own, side)]
        return tf.nn.avg_pool2d(maps, steps, steps, "VALID")
    if all(wanted % mine == 0 for mine, wanted in zip(own, side)):
        for axis, (mine, wanted) in enumerate(zip(own, side), start=1):
            maps = tf.repeat(maps, wanted // mine, axis=axis)
        return maps
    return tf.cast(tf.image.resize(maps, side, antialias=True), maps.dtype)
