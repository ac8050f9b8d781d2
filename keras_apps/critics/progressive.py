"""Critic that grows: the mirror image of the growing generator."""

import tensorflow as tf

from keras_apps.generators._sizes import doublings
from keras_apps.layers.equalised_conv import EqualisedConvLayer
from keras_apps.layers.minibatch_std import MinibatchStdLayer


class ProgressiveCritic(tf.keras.Model):
    """Progressive critic: at stage s it scores images of sizes[s], the newest layers faded in.

    x_s = leaky(rgb_s(image));   x_(s-1) = halved(two 3x3 convolutions on x_s), with
    (1 - fade) leaky(rgb_(s-1)(halved(image))) in its place in that share;   the score: minibatch deviation, a 3x3
    convolution, a dense layer and a linear one on x_0

    Every convolution is equalised and followed by LeakyReLU(0.2); halved = mean of 2 x 2.

    Args:    size: of the largest images, as in configs.  channels: C.  seed: fixes the first
             weights; all three the caller's facts.  width: channels of the last stage.  most: of the first stages, at
             most.  group: images of the minibatch deviation.
    Call:    images [b, *sizes[stage], C] in [0, 1], stage (int; -1 = the last), fade in [0, 1], training -> scores [b].
    State:   sizes: ((h, w), ...) of the stages.
    Raises:  ValueError for a size that cannot be halved, a width below 1 or a group below 2.
    Source:  Karras et al., ICLR 2018, arXiv:1710.10196, sections 2 and 3 and appendix A.
    Differs: as the generator.
    """

    def __init__(self, size, channels, width=32, most=128, group=4, seed=0):
        super().__init__()
        if not 1 <= width <= most:
            raise ValueError(f"progressive(width={width}, most={most}) needs 1 <= width <= most.")
        self.sizes = doublings(size)
        first = 1000 * seed
        widths = [min(most, width * 2 ** (len(self.sizes) - 1 - place)) for place in range(len(self.sizes))]
        self.entries = [EqualisedConvLayer(count, 1, seed=first + 200 + place) for place, count in enumerate(widths)]
        self.blocks = [[EqualisedConvLayer(own, 3, seed=first + 300 + 2 * place),
                        EqualisedConvLayer(below, 3, seed=first + 301 + 2 * place)]
                       for place, (below, own) in enumerate(zip(widths, widths[1:]))]
        self.deviation = MinibatchStdLayer(group)
        self.join = EqualisedConvLayer(widths[0], 3, seed=first + 400)
        self.dense = EqualisedConvLayer(widths[0], 1, seed=first + 401)
        self.score = EqualisedConvLayer(1, 1, 1.0, seed=first + 402)
        for stage in range(len(self.sizes)):
            self(tf.zeros([1, *self.sizes[stage], channels]), stage)

    def call(self, images, stage=-1, fade=1.0, training=False):
        stage = stage % len(self.sizes)
        images = tf.cast(images, tf.float32) * 2 - 1
        x = tf.nn.leaky_relu(self.entries[stage](images), 0.2)
        for place in range(stage, 0, -1):
            for convolution in self.blocks[place - 1]:
                x = tf.nn.leaky_relu(convolution(x), 0.2)
            x = halved(x)
            if place == stage:
                older, fade = tf.nn.leaky_relu(self.entries[place - 1](halved(images)), 0.2), tf.cast(fade, x.dtype)
                x = (1 - fade) * older + fade * x
        x = tf.nn.leaky_relu(self.join(self.deviation(x)), 0.2)
        x = tf.reshape(x, [-1, 1, 1, x.shape[1] * x.shape[2] * x.shape[3]])
        return tf.cast(self.score(tf.nn.leaky_relu(self.dense(x), 0.2)), tf.float32)[:, 0, 0, 0]


def halved(x):
    """The mean of each 2 x 2 places of a map [b,h,w,d]."""
    return tf.nn.avg_pool2d(x, 2, 2, "VALID")
