"""What the tests of restorers share: networks with other weights than a new one's, and their parts written out."""

import numpy as np
import tensorflow as tf

from keras_apps.build import build


def made(text, channels=1, scales=(4,), aware=False, seed=0):
    tf.keras.utils.set_random_seed(seed)
    return build("restorers", text, channels=channels, scales=scales, aware=aware)


def images(height=9, width=11, channels=1, count=2, seed=0):
    return np.random.default_rng(seed).random((count, height, width, channels)).astype(np.float32)


def stirred(network, seed=1):
    """Other weights than those of a new network, many of which begin at 0."""
    random = np.random.default_rng(seed)
    for variable in network.variables:
        noise = random.normal(0, 0.05, variable.shape).astype(np.float32)
        variable.assign(np.abs(variable + noise) if "variance" in variable.name else variable + noise)
    return network


def convolved(x, layer):
    """A convolution of [b,h,w,c] in float64, a place of the kernel at a time, zeros around."""
    kernel, bias = (np.float64(value) for value in layer.get_weights())
    side = len(kernel)
    padded = np.pad(x, ((0, 0), (side // 2, side // 2), (side // 2, side // 2), (0, 0)))
    high, wide = x.shape[1:3]
    return bias + sum(padded[:, i:i + high, j:j + wide] @ kernel[i, j] for i in range(side) for j in range(side))


def relu(x):
    return np.maximum(x, 0)


def normalised(x, norm):
    """A batch norm by its moving statistics."""
    mean, variance, gamma, beta = (np.float64(value) for value in (norm.moving_mean, norm.moving_variance, norm.gamma,
                                                                   norm.beta))
    return (x - mean) / np.sqrt(variance + norm.epsilon) * gamma + beta


def turned(told, scale):
    """[(gain, shift)] of a scale, a block each."""
    (one, first), (two, second) = ([np.float64(v) for v in layer.get_weights()] for layer in (told.embed, told.turn))
    hidden = np.log2(scale) * one[0] + first
    found = (hidden / (1 + np.exp(-hidden))) @ two + second
    return found.reshape(told.count, 2, told.width)


def risen(rise, x, times):
    """Doublings and the last convolution; the channel 4 = (row, column) of a doubling becomes a place."""
    for doubling in rise.doublings[:times]:
        y = convolved(x, doubling.convolution)
        large = np.zeros((len(x), 2 * x.shape[1], 2 * x.shape[2], y.shape[3] // 4))
        for row in (0, 1):
            for column in (0, 1):
                at = (2 * row + column) * large.shape[3]
                large[:, row::2, column::2] = y[..., at:at + large.shape[3]]
        x = relu(large)
    return convolved(x, rise.last)
