"""Batch normalisation: Keras' figures where Keras is right, better ones where it loses digits; the global batch."""

import types

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.layers.batch_norm import LEAST, BatchNormLayer

RANDOM = np.random.default_rng(0)
SHAPES = [(12, 5), (4, 6, 5, 3), (7, 4, 3)]


def layer(shape, **words):
    made = BatchNormLayer(**words)
    made(tf.zeros(shape))
    return made


def inputs(shape, mean=0.3, deviation=2.0):
    return (RANDOM.normal(size=shape) * deviation + mean).astype(np.float32)


def naive(x, gamma, beta, epsilon=LEAST):
    x = x.astype(np.float64)
    axes = tuple(range(x.ndim - 1))
    mean, variance = x.mean(axes), x.var(axes)
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta, mean, variance


@pytest.mark.parametrize("shape", SHAPES)
def test_values_gradients_and_statistics_are_keras_ones(shape):
    ours, theirs = layer(shape), tf.keras.layers.BatchNormalization(momentum=0.9, epsilon=LEAST, synchronized=True)
    theirs.build(shape)
    gamma, beta = inputs(shape[-1:], 1.0), inputs(shape[-1:])
    x, upstream = inputs(shape), inputs(shape)
    found = []
    for one in (ours, theirs):
        one.gamma.assign(gamma)
        one.beta.assign(beta)
        for scale in (1.0, 0.5):
            with tf.GradientTape() as tape:
                watched = tf.constant(scale * x)
                tape.watch(watched)
                y = one(watched, training=True)
            slopes = tape.gradient(y, [watched, one.gamma, one.beta], output_gradients=tf.constant(upstream))
        found.append([y, *slopes, one.moving_mean, one.moving_variance, one(x, training=False), one(x)])
    names = "y", "dx", "dgamma", "dbeta", "moving mean", "moving variance", "served", "default"
    for name, a, b in zip(names, *found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=name)
    np.testing.assert_array_equal(found[0][-1], found[0][-2])


@pytest.mark.parametrize("shape", SHAPES)
def test_statistics_follow_their_recursion(shape):
    made, mean, variance = layer(shape, momentum=0.75), 0.0, 1.0
    for _ in range(3):
        x = inputs(shape)
        _, new_mean, new_variance = naive(x, 1.0, 0.0)
        mean, variance = 0.75 * mean + 0.25 * new_mean, 0.75 * variance + 0.25 * new_variance
        made(x, training=True)
    np.testing.assert_allclose(made.moving_mean, mean, atol=1e-6)
    np.testing.assert_allclose(made.moving_variance, variance, rtol=1e-5)
    before = [v.numpy() for v in made.variables]
    made(inputs(shape), training=False)
    for old, v in zip(before, made.variables):
        np.testing.assert_array_equal(v, old, "judging moves nothing")


@pytest.mark.parametrize("shape", [(4096, 2), (64, 8, 8, 2)])
def test_a_mean_far_from_zero_costs_no_digits(shape):
    """The difference of two large sums would leave none of the variance's."""
    x = inputs(shape, 1e4, 1.0)
    expected, mean, variance = naive(x, 1.0, 0.0)
    made = layer(shape, momentum=0.0)
    np.testing.assert_allclose(made(x, training=True), expected, atol=0.02), "the mean's last bit is 0.001"
    np.testing.assert_allclose(made.moving_variance, variance, rtol=1e-3)
    np.testing.assert_allclose(made.moving_mean, mean, rtol=3e-6)
    theirs = tf.keras.layers.BatchNormalization(epsilon=LEAST, synchronized=True)
    assert not np.abs(theirs(x, training=True) - expected).max() < 0.2, "else Keras' own would do"


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [True, False])
def test_narrow_floats_are_normalised_in_float32(dtype, shape, training):
    policy = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(f"mixed_{dtype.name}")
    try:
        made = layer(shape, momentum=0.0)
    finally:
        tf.keras.mixed_precision.set_global_policy(policy)
    # 300 squared is beyond float16.
    x = tf.cast(inputs(shape, 300.0, 2.0), dtype)
    wide = tf.cast(x, tf.float32).numpy()
    y = made(x, training=training)
    expected, mean, variance = naive(wide, 1.0, 0.0)
    assert y.dtype == dtype and {v.dtype for v in made.variables} == {tf.float32}
    if training:
        np.testing.assert_allclose(tf.cast(y, tf.float32), expected, atol=0.03)
        np.testing.assert_allclose(made.moving_mean, mean, rtol=1e-5)
        np.testing.assert_allclose(made.moving_variance, variance, rtol=1e-3)
    else:
        np.testing.assert_allclose(tf.cast(y, tf.float32), wide, rtol=0.01)


def test_over_replicas_it_is_the_formula_of_the_whole_batch():
    """Two replicas that hold the two halves, by a stand-in that knows the other's sums."""
    made, x = layer((8, 3, 2, 4)), inputs((8, 3, 2, 4), 50.0)
    mine, others = x[:4], x[4:]
    sent = []

    def add(kind, values):
        sent.append(values.numpy())
        return values + (others if len(sent) == 1 else (others - x.mean((0, 1, 2))) ** 2).sum((0, 1, 2))
    context = types.SimpleNamespace(num_replicas_in_sync=2, all_reduce=add)
    mean, variance = made._moments(tf.constant(mine), context)
    np.testing.assert_allclose(sent[0], mine.sum((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(sent[1], ((mine - x.mean((0, 1, 2))) ** 2).sum((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(mean, x.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(variance, x.var((0, 1, 2)), rtol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_the_fused_operation_of_one_replica_equals_the_formula(training):
    shape = (4, 6, 5, 3)
    made, x = layer(shape), inputs(shape)
    made.gamma.assign([0.5, 1.0, 2.0])
    made.beta.assign([0.1, 0.0, -3.0])
    made.moving_mean.assign([0.2, 0.3, 0.4])
    made.moving_variance.assign([2.0, 3.0, 4.0])
    y = made(x, training=training)
    if training:
        moments = made._moments(tf.constant(x), None)
    else:
        moments = [tf.convert_to_tensor(v) for v in (made.moving_mean, made.moving_variance)]
    np.testing.assert_allclose(y, made._with(tf.constant(x), made.gamma, made.beta, *moments), atol=1e-5)


@pytest.mark.parametrize("words, names", [
    ({}, ["gamma", "beta", "moving_mean", "moving_variance"]),
    ({"scale": False}, ["beta", "moving_mean", "moving_variance"]),
    ({"center": False}, ["gamma", "moving_mean", "moving_variance"]),
    ({"center": False, "scale": False}, ["moving_mean", "moving_variance"]),
])
def test_what_is_left_out_is_no_variable(words, names):
    for shape in SHAPES[:2]:
        made = layer(shape, **words)
        assert [v.name.rpartition("/")[2].partition(":")[0] for v in made.variables] == names
        assert len(made.trainable_variables) == len(names) - 2
        x = inputs(shape)
        np.testing.assert_allclose(made(x, training=True), naive(x, 1.0, 0.0)[0], atol=1e-5)
        assert made(x, training=False).shape == shape


def test_a_gain_may_start_at_zero():
    assert not layer((2, 3), gamma_initializer="zeros")(inputs((2, 3)), training=True).numpy().any()


def test_identical_and_huge_inputs_stay_finite():
    for shape in SHAPES:
        made = layer(shape)
        # The mean of equal whole numbers is exact; TensorFlow's fused operation, which takes images, has it to
        # round-off on some processors, and 1/sqrt(epsilon) enlarges that.
        round_off = 4 * np.spacing(np.float32(7.0)) / made.epsilon ** 0.5 if len(shape) == 4 else 0.0
        assert np.abs(made(np.full(shape, 7.0, np.float32), training=True)).max() <= round_off
        assert np.isfinite(made(inputs(shape, 0.0, 1e15), training=True)).all()
        assert np.isfinite(made.moving_variance).all()


def test_a_batch_of_one_number_keeps_its_statistics_finite():
    """n - 1 is zero there."""
    for shape in ((1, 3), (1, 1, 1, 3)):
        made = layer(shape)
        assert not made(inputs(shape), training=True).numpy().any()
        np.testing.assert_allclose(made.moving_variance, 0.9, rtol=1e-5)


def test_weights_go_through_a_checkpoint_and_a_saved_model(tmp_path):
    model = tf.keras.Sequential([tf.keras.layers.Input((6, 5, 3)), BatchNormLayer()])
    model(inputs((4, 6, 5, 3)), training=True)
    x = inputs((2, 6, 5, 3))
    expected = model(x).numpy()
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "c"))
    other = tf.keras.Sequential([tf.keras.layers.Input((6, 5, 3)), BatchNormLayer()])
    tf.train.Checkpoint(model=other).read(path).assert_consumed()
    np.testing.assert_array_equal(other(x), expected)
    holder = tf.Module()
    holder.model = model
    holder.call = tf.function(lambda x: model(x, training=False),
                              input_signature=[tf.TensorSpec([None, 6, 5, 3], tf.float32)])
    tf.saved_model.save(holder, str(tmp_path / "s"))
    loaded = tf.saved_model.load(str(tmp_path / "s"))
    np.testing.assert_allclose(loaded.call(x), expected, atol=1e-6)


@pytest.mark.parametrize("words, match", [
    ({"momentum": 1.0}, r"`momentum` is 1.0 but must lie in \[0, 1\)"),
    ({"momentum": -0.1}, "`momentum` is -0.1"),
    ({"epsilon": 1e-6}, "`epsilon` is 1e-06 but must be at least 1.001e-05"),
    ({"momentum": float("nan")}, "`momentum` is nan"),
])
def test_refusals(words, match):
    with pytest.raises(ValueError, match=match):
        BatchNormLayer(**words)
