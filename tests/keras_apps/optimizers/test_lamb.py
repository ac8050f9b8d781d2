import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.local import LocalOptimizer, LocalVariable
from keras_apps.optimizers.lamb import LambOptimizer

ROOT = pathlib.Path(__file__).parents[3]
GRADIENTS = np.random.default_rng(1).normal(size=(5, 3, 2))


@pytest.mark.parametrize("name, adapted", [("kernel", True), ("bias", False)])
def test_adam_scaled_to_the_length_of_the_weights(name, adapted):
    w = np.random.default_rng(0).normal(size=(3, 2))
    variable = tf.Variable(w, name=name, dtype=tf.float32)
    optimizer = LambOptimizer(rate=0.1, beta_1=0.8, beta_2=0.9, epsilon=1e-5, decay=0.3)
    optimizer.build([variable])
    m = v = np.zeros_like(w)
    for t, g in enumerate(GRADIENTS, start=1):
        optimizer.apply_gradients([(tf.constant(g, tf.float32), variable)], skip_gradients_aggregation=True)
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g ** 2
        u = (m / (1 - 0.8 ** t)) / (np.sqrt(v / (1 - 0.9 ** t)) + 1e-5)
        if adapted:
            u = u + 0.3 * w
            u = u * np.linalg.norm(w) / np.linalg.norm(u)
        w = w - 0.1 * u
    np.testing.assert_allclose(variable, w, rtol=1e-4, atol=1e-5)


def test_moments_exist_before_the_first_step():
    variable = tf.Variable([[1.0]], name="kernel")
    optimizer = LambOptimizer(rate=1)
    optimizer.build([variable])
    assert [optimizer.get_slot(variable, name).shape for name in ("m", "v")] == [(1, 1), (1, 1)]


def test_a_share_of_the_classes_is_refused():
    head = LocalVariable(np.ones([4, 2], np.float32))
    with pytest.raises(ValueError, match="`LambOptimizer` cannot move variables that lie in shares"):
        LocalOptimizer(lambda: LambOptimizer(rate=0.1), [head])


@pytest.mark.slow
def test_starting_a_command_with_it_prints_no_warning():
    """pytest filters the warnings of its own process."""
    done = subprocess.run([sys.executable, "-c", "import keras_apps.optimizers.lamb"], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0 and "Addons" not in done.stderr and "Warning" not in done.stderr


def test_refusals():
    for words in ({"rate": 0}, {"rate": 1, "beta_1": 1.0}, {"rate": 1, "epsilon": 0}, {"rate": 1, "decay": -1}):
        with pytest.raises(ValueError, match="needs rate and epsilon > 0"):
            LambOptimizer(**words)
