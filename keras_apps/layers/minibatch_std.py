"""How different the images of a group are, as a channel of each."""

import tensorflow as tf

from keras_apps import geometry


class MinibatchStdLayer(tf.keras.layers.Layer):
    """Appends a channel that holds the standard deviation over a group of images, averaged over places and channels.

    s = mean over h, w, d of sqrt(variance over the g images of a group + 1e-8)

    A critic that sees it notices a generator whose images are all alike. Groups are neighbouring rows, so that they are
    the same on any number of replicas whose share of the batch is a multiple of g; the rows behind the last whole group
    are one by themselves.

    Args:    group: g >= 2 images.
    Call:    [b,h,w,d], training -> [b,h,w,d+1] in the same dtype; the deviation is float32 or wider.
    Raises:  ValueError for a group below 2.
    Source:  Karras et al., ICLR 2018, arXiv:1710.10196, section 3.
    Differs: groups of neighbours; there every (b / g)th image.
    """

    def __init__(self, group=4):
        super().__init__(autocast=False)
        if group < 2:
            raise ValueError(f"`group` is {group} but a deviation needs at least 2 images; use 4.")
        self.group = group

    def call(self, x, training=False):
        rows = tf.range(tf.shape(x)[0]) // self.group
        count = (tf.shape(x)[0] + self.group - 1) // self.group
        wide = geometry.wide(x)     # in float16 what is added under the root is 0
        mean = tf.gather(tf.math.unsorted_segment_mean(wide, rows, count), rows)
        variance = tf.math.unsorted_segment_mean(tf.math.squared_difference(wide, mean), rows, count)
        deviation = tf.reduce_mean(tf.sqrt(variance + 1e-8), axis=(1, 2, 3))
        channel = tf.cast(tf.gather(deviation, rows), x.dtype)[:, None, None, None]
        return tf.concat([x, tf.broadcast_to(channel, [*tf.unstack(tf.shape(x)[:3]), 1])], axis=-1)
