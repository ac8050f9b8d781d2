"""Generator that grows: it learns small images first, then adds layers that double them."""

import tensorflow as tf

from keras_apps.generators._sizes import doublings
from keras_apps.layers.equalised_conv import EqualisedConvLayer
from keras_apps.layers.pixel_norm import PixelNormLayer

layers = tf.keras.layers


class ProgressiveGenerator(tf.keras.Model):
    """Progressive generator: at stage s it makes images of sizes[s], the newest layers faded in.

    x_0 = two 3x3 convolutions on the projected latent;   x_s = two 3x3 convolutions on x_(s-1) doubled (nearest)
    image_s = (x + 1) / 2 of (1 - fade) doubled(rgb_(s-1)(x_(s-1))) + fade rgb_s(x_s)

    Every layer is equalised; the 3x3 convolutions are followed by LeakyReLU(0.2) and pixel norm, rgb_s is a linear 1x1
    convolution.

    Args:    latent: z.  size: of the largest images, as in configs.  channels: C.  seed: fixes the first
             weights; all four the caller's facts.
             width: channels of the last stage.  most: channels of the first stages, at most.
    Call:    latents [b,z], stage (int, 0 to len(sizes) - 1; -1 = the last), fade in [0, 1], training
             -> images [b, *sizes[stage], C], about [0, 1]: not clipped, so that a gradient always passes.
    State:   sizes: ((h, w), ...) of the stages.
    Raises:  ValueError for a size that cannot be halved or a width below 1.
    Source:  Karras et al., ICLR 2018, arXiv:1710.10196, section 2 and appendix A.
    Differs: the first map is 4 pixels or, for 28, 7.
    """

    def __init__(self, latent, size, channels, width=32, most=128, seed=0):
        super().__init__()
        if not 1 <= width <= most:
            raise ValueError(f"progressive(width={width}, most={most}) needs 1 <= width <= most.")
        self.sizes = doublings(size)
        first = 1000 * seed
        widths = [min(most, width * 2 ** (len(self.sizes) - 1 - place)) for place in range(len(self.sizes))]
        self.first = (*self.sizes[0], widths[0])
        self.norm = PixelNormLayer()
        # 1x1 on a map of one place: a dense layer. The gain is the paper's for the latent.
        numbers = self.first[0] * self.first[1] * self.first[2]
        self.project = EqualisedConvLayer(numbers, 1, 2.0 ** 0.5 / 4, seed=first + 1)
        self.blocks = [[EqualisedConvLayer(count, 3, seed=first + 2 + 2 * place + half) for half in range(2)]
                       for place, count in enumerate(widths)]
        self.images = [EqualisedConvLayer(channels, 1, 1.0, seed=first + 100 + place) for place in range(len(widths))]
        for stage in range(len(self.sizes)):
            self(tf.zeros([1, latent]), stage)

    def call(self, latents, stage=-1, fade=1.0, training=False):
        stage = stage % len(self.sizes)
        x = self.norm(tf.cast(latents, tf.float32))[:, None, None]
        x = tf.reshape(self.project(x), [-1, *self.first])
        before = None
        for place in range(stage + 1):
            if place:
                before, x = x, doubled(x)
            for convolution in self.blocks[place]:
                x = self.norm(tf.nn.leaky_relu(convolution(x), 0.2))
        image = tf.cast(self.images[stage](x), tf.float32)
        if before is not None:
            older = doubled(tf.cast(self.images[stage - 1](before), tf.float32))
            image = (1 - fade) * older + fade * image
        return (image + 1) / 2


def doubled(x):
    """Each place of a map [b,h,w,d] as 2 x 2 places."""
    return tf.repeat(tf.repeat(x, 2, axis=1), 2, axis=2)
