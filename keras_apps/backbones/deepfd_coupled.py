"""The coupled network of DeepFD: two streams that look at two scales."""

import tensorflow as tf

from keras_apps.backbones.deepfd_res import DeepfdResBackbone


class DeepfdCoupledBackbone(tf.keras.Model):
    """Two residual streams of their own weights, one with 3x3 and one with 5x5 convolutions, their maps side by side.

    Args:    widths, blocks, stem, stem_stride: of each stream, as of `deepfd_res`.
    Call:    images [b,H,W,C] in [0, 1], training -> {"map3", "map4", "map5"}, each [b,h,w,2d].
    Raises:  ValueError as `deepfd_res`.
    Source:  inspired by the coupled network of two-step pairwise learning (ICIP 2019, pp. 3212-3216): its widths and
             kernels as read in public code; the rest as `deepfd_res`.
    """

    def __init__(self, widths=(64, 96, 128), blocks=(2, 4, 3), stem=7, stem_stride=4):
        super().__init__()
        self.streams = [DeepfdResBackbone(widths, blocks, kernel, stem, stem_stride) for kernel in (3, 5)]

    def call(self, images, training=False):
        first, second = (stream(images, training=training) for stream in self.streams)
        return {name: tf.concat([first[name], second[name]], axis=-1) for name in first}
