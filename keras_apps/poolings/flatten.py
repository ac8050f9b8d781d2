"""The whole feature map as one vector."""

import tensorflow as tf


class FlattenPooling(tf.keras.layers.Layer):
    """Flatten pooling: keeps every position, so it suits aligned images such as centred faces and digits.

    value = (x_000, x_001, ..., x_hwd), channels fastest

    Call:    map [b, h, w, d] with static h, w and d.
    Returns: [b, h * w * d] in the map's dtype.
    Raises:  ValueError if h, w or d is unknown when the layer is built.
    Source:  the usual flattening.   Differs: no.
    """

    def build(self, input_shape):
        if None in tuple(input_shape)[1:]:
            raise ValueError(
                f"`map` has shape {tuple(input_shape)} but flatten pooling needs a fixed height, width and "
                "depth; fix the image size or use pooling 'average'."
            )
        super().build(input_shape)

    def call(self, map):
        return tf.reshape(map, [-1, map.shape[1] * map.shape[2] * map.shape[3]])
