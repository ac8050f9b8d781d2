"""Every optimizer in the folder: what the loop asks of it, and what decay leaves alone."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.build import build, methods
from keras_apps.groups import Rate
from keras_apps.strategy import make_strategy

NAMES = methods("optimizers")
ROOT = pathlib.Path(__file__).parents[2]


def problem(name, decay=0.0, rate=0.1):
    """Two variables, the optimizer over them, and the variable that is the schedule's factor."""
    random = np.random.default_rng(0)
    kernel = tf.Variable(random.normal(size=(4, 3)), name="kernel", dtype=tf.float32)
    bias = tf.Variable(random.normal(size=3), name="bias", dtype=tf.float32)
    factor = tf.Variable(1.0, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
    optimizer = build("optimizers", f"{name}(rate={rate}, decay={decay})",
                      schedule=lambda rate: Rate(rate, factor.read_value))
    optimizer.build([kernel, bias])
    return kernel, bias, optimizer, factor


def stepper(kernel, bias, optimizer, strategy=None):
    """() -> the loss before a step down a quadratic; as the loop does it, in a graph and in replica context."""
    strategy = strategy or tf.distribute.get_strategy()

    def replica():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(kernel - 0.5) * [1.0, 2.0, 3.0]) + tf.reduce_sum(tf.square(bias + 1.0))
        gradients = tape.gradient(loss, [kernel, bias])
        optimizer.apply_gradients(list(zip(gradients, [kernel, bias])), skip_gradients_aggregation=True)
        return loss
    return tf.function(lambda: strategy.experimental_local_results(strategy.run(replica))[0], autograph=False)


@pytest.mark.parametrize("name", NAMES)
def test_a_quadratic_is_lowered(name):
    kernel, bias, optimizer, _ = problem(name, rate=0.02)
    step = stepper(kernel, bias, optimizer)
    losses = [float(step()) for _ in range(30)]
    assert losses[-1] < 0.9 * losses[0]
    assert int(optimizer.iterations.numpy()) == 30


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_optimizer_takes_the_same_next_step(name, tmp_path):
    kernel, bias, optimizer, factor = problem(name, decay=0.01)
    step = stepper(kernel, bias, optimizer)
    for _ in range(3):
        step()
    path = tf.train.Checkpoint(optimizer=optimizer, kernel=kernel, bias=bias).save(tmp_path / "checkpoint")
    step()
    fresh = problem(name, decay=0.01)
    checkpoint = tf.train.Checkpoint(optimizer=fresh[2], kernel=fresh[0], bias=fresh[1])
    checkpoint.restore(path).assert_existing_objects_matched().assert_consumed()
    assert int(fresh[2].iterations.numpy()) == 3
    stepper(*fresh[:3])()
    np.testing.assert_array_equal(fresh[0], kernel)
    np.testing.assert_array_equal(fresh[1], bias)


@pytest.mark.parametrize("name", NAMES)
def test_the_schedule_is_obeyed_at_every_step(name):
    kernel, bias, optimizer, factor = problem(name, decay=0.1)
    step, start = stepper(kernel, bias, optimizer), kernel.numpy()
    factor.assign(0.0)
    step()
    np.testing.assert_array_equal(kernel, start)

    def moved(value):
        kernel, bias, optimizer, factor = problem(name, decay=0.1)
        factor.assign(value)
        assert float(optimizer._learning_rate(None)) == pytest.approx(0.1 * value)
        stepper(kernel, bias, optimizer)()
        return kernel.numpy() - start
    np.testing.assert_allclose(moved(0.5), 0.5 * moved(1.0), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_a_variable_without_a_gradient_is_left_alone(name):
    kernel, bias, optimizer, _ = problem(name, decay=0.1)
    kept = kernel.numpy(), bias.numpy()
    optimizer.apply_gradients([(tf.ones([3]), bias)], skip_gradients_aggregation=True)
    np.testing.assert_array_equal(kernel, kept[0])
    assert np.abs(bias.numpy() - kept[1]).min() > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_decay_shrinks_weights_and_spares_biases(name):
    kernel, bias, optimizer, _ = problem(name, decay=0.1)
    kept = kernel.numpy(), bias.numpy()
    optimizer.apply_gradients([(tf.zeros_like(kernel), kernel), (tf.zeros_like(bias), bias)],
                              skip_gradients_aggregation=True)
    assert (np.abs(kernel.numpy()) < np.abs(kept[0])).all()
    np.testing.assert_array_equal(bias, kept[1])


@pytest.mark.parametrize("head", methods("heads"))
def test_decay_takes_the_matrices_of_a_head_and_spares_its_vectors(head):
    variables = list(build("heads", f"{head}()", classes=3, dimension=4, seed=0).trainable_variables)
    optimizer = build("optimizers", "sgd(rate=0.1, decay=0.1)")
    optimizer.build(variables)
    for variable in variables:
        assert optimizer._use_weight_decay(variable) == (variable.shape.rank > 1), variable.name


@pytest.mark.slow
def test_two_replicas_step_as_one():
    def weights(replicas):
        done = subprocess.run([sys.executable, "-m", "tests.contracts.test_optimizers", str(replicas)], cwd=ROOT,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)
    one, two = weights(1), weights(2)
    assert list(one) == NAMES
    for name in NAMES:
        np.testing.assert_allclose(two[name], one[name], atol=1e-6, err_msg=name)


def main(replicas):
    """Prints the kernel after four steps by optimizer."""
    strategy, found = make_strategy("mirrored" if replicas > 1 else "one", replicas), {}
    for name in NAMES:
        with strategy.scope():
            kernel, bias, optimizer, factor = problem(name, decay=0.01)
        step = stepper(kernel, bias, optimizer, strategy)
        for _ in range(4):
            step()
            factor.assign(0.5 * factor)
        found[name] = kernel.numpy().tolist()
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]))
