import math

import pytest
import tensorflow as tf

from keras_apps.optimizers.adam import AdamOptimizer


def test_bias_corrected_moments():
    x = tf.Variable(1.0, name="kernel")
    optimizer = AdamOptimizer(rate=0.1, beta_1=0.8, beta_2=0.9, epsilon=1e-7, decay=0.3)
    optimizer.build([x])
    w, m, v = 1.0, 0.0, 0.0
    for t, gradient in enumerate((2.0, -1.0, 0.5), start=1):
        optimizer.apply_gradients([(tf.constant(gradient), x)])
        w -= 0.1 * 0.3 * w
        m, v = 0.8 * m + 0.2 * gradient, 0.9 * v + 0.1 * gradient ** 2
        w -= 0.1 * (m / (1 - 0.8 ** t)) / (math.sqrt(v / (1 - 0.9 ** t)) + 1e-7)
    assert x.numpy() == pytest.approx(w, abs=1e-5)


def test_refusal():
    with pytest.raises(ValueError, match="betas in"):
        AdamOptimizer(rate=0.1, beta_1=1.0)
