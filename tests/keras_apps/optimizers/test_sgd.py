import pytest
import tensorflow as tf

from keras_apps.optimizers.sgd import SgdOptimizer


def test_momentum_and_decoupled_decay_but_not_of_shifts():
    kernel, beta = tf.Variable(1.0, name="kernel"), tf.Variable(1.0, name="beta")
    optimizer = SgdOptimizer(rate=0.1, momentum=0.5, decay=0.2)
    optimizer.build([kernel, beta])
    w, v = [1.0, 1.0], [0.0, 0.0]
    for _ in range(3):
        optimizer.apply_gradients([(tf.constant(2.0), kernel), (tf.constant(2.0), beta)])
        for i, decay in enumerate((0.2, 0.0)):
            w[i] -= 0.1 * decay * w[i]
            v[i] = 0.5 * v[i] - 0.1 * 2.0
            w[i] += v[i]
    assert kernel.numpy() == pytest.approx(w[0], abs=1e-6) and beta.numpy() == pytest.approx(w[1], abs=1e-6)


def test_refusal():
    with pytest.raises(ValueError, match="needs rate > 0"):
        SgdOptimizer(rate=0)
