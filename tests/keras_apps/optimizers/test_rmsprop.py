import math

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.optimizers.rmsprop import RmspropOptimizer


def test_steps_scaled_by_recent_gradients_and_decoupled_decay_but_not_of_shifts():
    kernel, beta = tf.Variable(1.0, name="kernel"), tf.Variable(1.0, name="beta")
    optimizer = RmspropOptimizer(rate=0.1, rho=0.8, epsilon=1e-3, decay=0.3)
    optimizer.build([kernel, beta])
    w, v = [1.0, 1.0], 0.0
    for gradient in (2.0, -1.0, 0.5, 1e-3):
        optimizer.apply_gradients([(tf.constant(gradient), kernel), (tf.constant(gradient), beta)])
        v = 0.8 * v + 0.2 * gradient ** 2
        w = [one - 0.1 * decay * one - 0.1 * gradient / math.sqrt(v + 1e-3) for one, decay in zip(w, (0.3, 0.0))]
    assert kernel.numpy() == pytest.approx(w[0], abs=1e-6) and beta.numpy() == pytest.approx(w[1], abs=1e-6)


def test_the_first_step_is_the_same_for_small_and_large_gradients():
    kernel = tf.Variable([0.0, 0.0, 0.0], name="kernel")
    optimizer = RmspropOptimizer(rate=0.01, rho=0.9)
    optimizer.build([kernel])
    optimizer.apply_gradients([(tf.constant([0.01, -1.0, 1e4]), kernel)])
    np.testing.assert_allclose(kernel, 0.01 / math.sqrt(0.1) * np.array([-1, 1, -1]), rtol=0.01)


def test_no_momentum():
    kernel = tf.Variable(0.0, name="kernel")
    optimizer = RmspropOptimizer(rate=0.1)
    optimizer.build([kernel])
    optimizer.apply_gradients([(tf.constant(1.0), kernel)])
    before = kernel.numpy()
    optimizer.apply_gradients([(tf.constant(0.0), kernel)])
    assert kernel.numpy() == before


@pytest.mark.parametrize("words", [{"rate": 0}, {"rate": 1, "rho": 1.0}, {"rate": 1, "rho": -0.1},
                                   {"rate": 1, "epsilon": 0}, {"rate": 1, "decay": -1}])
def test_refusals(words):
    with pytest.raises(ValueError, match=r"^rmsprop\(rate=.*\) needs rate and epsilon > 0, rho in \[0, 1\)"):
        RmspropOptimizer(**words)
