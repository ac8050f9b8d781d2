"""How small images and maps become larger: bicubic, doublings, and networks that add to the bicubic image."""

import math

import tensorflow as tf

layers = tf.keras.layers


def bicubic(images, size):
    """Images [b,h,w,C] at another size [b,H,W,C]: bicubic (a = -1/2), with antialias where they become smaller."""
    return tf.image.resize(images, size, "bicubic", antialias=True)


def doublings(scale):
    """How often a map must be doubled to be at least `scale` times as large, a number above 1."""
    return max(1, math.ceil(math.log2(scale) - 1e-6))


class Told(layers.Layer):
    """How a scale modulates `count` maps: [(gain [d], shift [d])], all 0 at the start.

    e = swish(W log2(scale) + b);   gain, shift = two linear maps of e

    A function of the logarithm of the scale: scales between those trained on have something between.
    """

    def __init__(self, count, width, hidden=32):
        super().__init__()
        self.count, self.width = count, width
        self.embed = layers.Dense(hidden, "swish")
        self.turn = layers.Dense(2 * count * width, kernel_initializer="zeros", bias_initializer="zeros")

    def call(self, scale):
        place = tf.math.log(tf.cast(scale, tf.float32)) / math.log(2.0)
        found = self.turn(self.embed(tf.reshape(place, [1, 1])))
        return [tf.unstack(turn) for turn in tf.unstack(tf.reshape(found, [self.count, 2, self.width]))]


class Doubling(layers.Layer):
    """A 3x3 convolution to 4 x `width` channels whose channels become places, and ReLU: a map twice as large.

    Source:  Shi et al., CVPR 2016, arXiv:1609.05158.
    """

    def __init__(self, width):
        super().__init__()
        self.convolution = layers.Conv2D(4 * width, 3, padding="same", kernel_initializer="he_normal")

    def call(self, x):
        return tf.nn.relu(tf.nn.depth_to_space(self.convolution(x), 2))


class Rise(layers.Layer):
    """From a map at the small image's resolution to what is to be added to its bicubic enlargement.

    The map is doubled until it is at least as large as the image that is wanted (scales of 2, 4 and 8 share their first
    doublings), a 3x3 convolution makes the channels, and where the doublings overshoot, as for a scale of 3, the
    result is reduced, bicubic with antialias.

    Args:    channels: C.  width: of the doubled maps.  most: the largest scale.
    Call:    map [b,h,w,d], size (H, W), times (how many doublings) -> [b,H,W,C].
    State:   reach: places of the small image beyond which nothing changes a place of the result.
    """

    def __init__(self, channels, width, most):
        super().__init__()
        self.doublings = [Doubling(width) for _ in range(doublings(most))]
        # Of the small image: 1 + 1/2 + 1/4 + ... by the doublings, 2 by an interpolation before or after them.
        self.reach = 5
        # Near zero: a network that has learnt nothing gives the bicubic image.
        self.last = layers.Conv2D(channels, 3, padding="same",
                                  kernel_initializer=tf.random_normal_initializer(stddev=1e-3))

    def call(self, x, size, times):
        for doubling in self.doublings[:times]:
            x = doubling(x)
        x = tf.cast(self.last(x), tf.float32)
        fits = tf.reduce_all(tf.shape(x)[1:3] == tf.convert_to_tensor(size))
        known = tf.get_static_value(fits)
        if known is not None:
            return x if known else bicubic(x, size)
        return tf.cond(fits, lambda: x, lambda: bicubic(x, size))


class OnBicubic(tf.keras.Model):
    """A restorer that adds to the bicubic image, at whatever scale: y = bicubic(i) + rise(features(i)).

    Call:    images [b,h,w,C] in [0, 1], size (H, W), scale, times (doublings; None = by the scale, a number then)
             -> [b,H,W,C], not clipped.  `.features(images, scale)` -> [b,h,w,d].  `.enlarged(images, features, size,
             times)` -> [b,H,W,C].  `.code(features)` -> [b,K], a linear map of the mean over the places.
    State:   reach: places of the small image beyond which nothing changes a place of the result.  exact: whether the
             large image must be `scale` times the small one; here it need not.
    """

    exact = False

    def __init__(self):
        super().__init__(autocast=False)        # in float16 the bicubic image would lose levels

    def finish(self, channels, scales, rise, code, reach):
        """Makes what all share, once the network's own layers are there; `reach` is that of `features`."""
        self.rise = Rise(channels, rise, max(scales))
        self.coder = layers.Dense(code)
        self.reach = reach + self.rise.reach
        images = tf.zeros([1, 8, 8, channels])
        self.code(self.features(images, float(max(scales))))
        self(images, [8 * 2 ** len(self.rise.doublings)] * 2, float(max(scales)))

    def call(self, images, size, scale, times=None, training=False):
        return self.enlarged(images, self.features(images, scale, training), size,
                             doublings(scale) if times is None else times)

    def enlarged(self, images, features, size, times, training=False):
        return bicubic(images, size) + self.rise(features, size, times)

    def code(self, features):
        return self.coder(tf.reduce_mean(tf.cast(features, tf.float32), axis=(1, 2)))


def told(y, turn):
    """A map as a scale turns it; turn: (gain [d], shift [d]), None = as it is."""
    if turn is None:
        return y
    gain, shift = (tf.cast(value, y.dtype) for value in turn)
    return (1 + gain) * y + shift
