"""The last map alone."""

import tensorflow as tf

from keras_apps.build import build


class LastNeck(tf.keras.layers.Layer):
    """feature = pool(map5)

    Args:    pooling: method string; the caller's fact.
    Call:    maps {"map3", "map4", "map5"}, each [b,h,w,d], training -> [b,D].
    Source:  the usual way.   Differs: no.
    """

    def __init__(self, pooling):
        super().__init__()
        self.pooling = build("poolings", pooling)

    def call(self, maps, training=False):
        return self.pooling(maps["map5"])
