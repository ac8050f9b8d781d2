import numpy as np
import pytest
import tensorflow as tf

from keras_apps.optimizers.lars import LarsOptimizer

GRADIENTS = np.random.default_rng(1).normal(size=(5, 3, 2))


def test_momentum_of_gradients_scaled_to_the_length_of_the_weights():
    w = np.random.default_rng(0).normal(size=(3, 2))
    kernel = tf.Variable(w, name="kernel", dtype=tf.float64)
    optimizer = LarsOptimizer(rate=2.0, momentum=0.7, decay=0.3, coefficient=0.05)
    optimizer.build([kernel])
    v = np.zeros_like(w)
    for g in GRADIENTS:
        optimizer.apply_gradients([(tf.constant(g), kernel)])
        trust = 0.05 * np.linalg.norm(w) / (np.linalg.norm(g) + 0.3 * np.linalg.norm(w))
        v = 0.7 * v + 2.0 * trust * (g + 0.3 * w)
        w = w - v
    np.testing.assert_allclose(kernel, w, rtol=1e-9)


def test_the_step_does_not_depend_on_the_scale_of_the_gradient_but_on_that_of_the_weights():
    def moved(weight, gradient):
        kernel = tf.Variable(weight, name="kernel")
        optimizer = LarsOptimizer(rate=1.0, coefficient=0.1)
        optimizer.build([kernel])
        optimizer.apply_gradients([(tf.constant(gradient), kernel)])
        return np.linalg.norm(kernel.numpy() - weight)
    w, g = np.float32([[3.0, 4.0]]), np.float32([[1.0, -2.0]])
    assert moved(w, g) == pytest.approx(0.5, rel=1e-5) and moved(w, 1e4 * g) == pytest.approx(0.5, rel=1e-5)
    assert moved(10 * w, g) == pytest.approx(5.0, rel=1e-5)


def test_shifts_take_plain_momentum_steps():
    beta, b, v = tf.Variable([1.0, -2.0], name="norm/beta"), np.array([1.0, -2.0]), np.zeros(2)
    optimizer = LarsOptimizer(rate=0.5, momentum=0.9, decay=0.3)
    optimizer.build([beta])
    for g in GRADIENTS[:, 0]:
        optimizer.apply_gradients([(tf.constant(g, tf.float32), beta)])
        v = 0.9 * v + 0.5 * g
        b = b - v
    np.testing.assert_allclose(beta, b, rtol=1e-5)


def test_weights_and_gradients_of_zero_length_step_as_without_trust():
    zero, still = tf.Variable(tf.zeros([2, 2]), name="kernel"), tf.Variable(tf.ones([2, 2]), name="kernel")
    optimizer = LarsOptimizer(rate=0.1, momentum=0.0, decay=0.2)
    optimizer.build([zero, still])
    optimizer.apply_gradients([(tf.ones([2, 2]), zero), (tf.zeros([2, 2]), still)])
    np.testing.assert_allclose(zero, np.full([2, 2], -0.1), rtol=1e-6)
    np.testing.assert_allclose(still, np.full([2, 2], 1 - 0.1 * 0.2), rtol=1e-6)


def test_refusals():
    for words in ({"rate": 0}, {"rate": 1, "momentum": 1.0}, {"rate": 1, "decay": -1}, {"rate": 1, "coefficient": 0}):
        with pytest.raises(ValueError, match="needs rate and coefficient > 0"):
            LarsOptimizer(**words)
