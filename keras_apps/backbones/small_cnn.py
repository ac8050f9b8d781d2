"""Plain convolutional net for images of 16-64 pixels."""

import tensorflow as tf

from keras_apps.layers.blur_pool import BlurPoolLayer
from keras_apps.norms import make_norm

layers = tf.keras.layers


class SmallCnnBackbone(tf.keras.Model):
    """Stages of [3x3 convolution, norm, ReLU] x `depth` and a 2x2 maximum; the last three are map3, map4, map5.

    Args:    widths: channels of the stages, at least three.  depth: convolutions a stage.
             pool_last: the last stage is halved as well; without, its map keeps the resolution of map4.
             norm: a kind of `keras_apps/norms.py`.
             blur: taps of a `BlurPoolLayer` that halves the map after the 2x2 maximum at stride 1, 2-5; 0 = the maximum
             halves it.
    Call:    images [b,H,W,C] in [0, 1], training -> {"map3", "map4", "map5"}, each [b,h,w,d].
    Raises:  ValueError for fewer than three widths, a width or depth below 1, another norm or blur.
    Source:  blur: Zhang, ICML 2019, arXiv:1904.11486.
    """

    def __init__(self, widths=(32, 64, 96, 128), depth=1, pool_last=True, norm="batch", blur=0):
        super().__init__()
        if len(widths) < 3 or min(widths) < 1 or depth < 1:
            raise ValueError(f"small_cnn(widths={widths}, depth={depth}) needs at least three widths >= 1 and "
                             "depth >= 1.")
        if blur not in (0, 2, 3, 4, 5):
            raise ValueError(f"`blur` is {blur} but must be 0 (off) or 2, 3, 4 or 5 taps; use 4.")
        self.stages = []
        for number, width in enumerate(widths):
            stage = []
            for _ in range(depth):
                stage += [layers.Conv2D(width, 3, padding="same", use_bias=False, kernel_initializer="he_normal"),
                          make_norm(norm, width), layers.ReLU()]
            if pool_last or number < len(widths) - 1:
                stage += ([layers.MaxPool2D(2, 1, padding="same"), BlurPoolLayer(blur)] if blur else
                          [layers.MaxPool2D(2, padding="same")])
            self.stages.append(tf.keras.Sequential(stage))

    def call(self, images, training=False):
        maps, x = [], images * 4.0 - 2.0        # about zero mean and unit deviation for natural images
        for stage in self.stages:
            x = stage(x, training=training)
            maps.append(x)
        return dict(zip(("map3", "map4", "map5"), maps[-3:]))
