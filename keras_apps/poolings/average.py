"""Global average pooling."""

import tensorflow as tf

from keras_apps import geometry


class AveragePooling(tf.keras.layers.Layer):
    """Average pooling: each channel's mean over the map.

    value_d = mean_{h,w} x_hwd   (summed in float32 or wider: a float16 sum would overflow on large maps)

    Call:    map [b, h, w, d]; h and w may be unknown.
    Returns: [b, d] in the map's dtype.
    Source:  Lin et al., Network in Network, ICLR 2014, arXiv:1312.4400.   Differs: no.
    """

    def call(self, map):
        return tf.cast(tf.reduce_mean(geometry.wide(map), axis=[1, 2]), map.dtype)
