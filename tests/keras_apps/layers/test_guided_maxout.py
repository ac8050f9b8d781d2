import numpy as np
import pytest
import tensorflow as tf

from keras_apps.layers.guided_maxout import GuidedMaxoutLayer

FEATURES = np.random.default_rng(0).normal(size=[7, 10])
SURE = np.array([0.0, 0.1, 0.25, 0.5, 0.77, 0.999, 1.0])


def make(share=0.5, alpha=1.0):
    layer = GuidedMaxoutLayer(share)
    layer.build([None, 10])
    layer.alpha.assign(alpha)
    return layer


def naive(features, probability, share=0.5, alpha=1.0):
    rows = []
    for x, q in zip(features, probability):
        r = 1 - share * min(max(q, 0), 1)
        kept = sorted(range(len(x)), key=lambda i: (x[i], i))[:int(np.round(r * len(x)))]
        rows.append([alpha / r * x[i] if i in kept else 0.0 for i in range(len(x))])
    return np.array(rows)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.9])
def test_equals_the_loop(share):
    wanted = naive(FEATURES, SURE, share, 1.25)
    np.testing.assert_allclose(make(share, 1.25)(FEATURES, SURE, training=True), wanted, atol=1e-9, rtol=0)


def test_without_certainty_it_is_alpha_times_x():
    np.testing.assert_allclose(make(alpha=1.5)(FEATURES, np.zeros(7), training=True), 1.5 * FEATURES, atol=1e-12)
    np.testing.assert_array_equal(make()(FEATURES, np.zeros(7), training=True), FEATURES)


def test_of_a_sure_image_the_stronger_half_is_gone():
    y = make()(FEATURES, np.ones(7), training=True).numpy()
    for x, given in zip(FEATURES, y):
        weak = x < np.median(x)
        np.testing.assert_allclose(given[weak], 2 * x[weak], atol=1e-12)
        assert not given[~weak].any()


def test_the_surer_the_fewer_units_are_left():
    left = np.count_nonzero(make()(np.tile(FEATURES[:1], [7, 1]), SURE, training=True), axis=1)
    assert left.tolist() == [10, 10, 9, 8, 6, 5, 5]         # 9.5 and 8.75 and 7.5: a half goes to the even number


def test_judgement_is_the_identity_and_its_graph_has_no_mask():
    layer = make(alpha=3.0)
    for words in ({}, {"training": False}):
        np.testing.assert_array_equal(layer(FEATURES, **words), FEATURES)
        np.testing.assert_array_equal(layer(FEATURES, SURE, **words), FEATURES)
    graph = tf.function(lambda x, q: layer(x, q, training=False)).get_concrete_function(
        tf.TensorSpec([None, 10], tf.float32), tf.TensorSpec([None], tf.float32)).graph
    assert {node.type for node in graph.get_operations()} <= {"Placeholder", "Identity"}


def test_gradient_matches_central_differences_of_the_loop_and_none_reaches_the_probability():
    layer, features, sure = make(alpha=1.25), tf.constant(FEATURES), tf.constant(SURE)
    shares = np.random.default_rng(1).normal(size=FEATURES.shape)
    with tf.GradientTape() as tape:
        tape.watch([features, sure])
        total = tf.reduce_sum(shares * layer(features, sure, training=True))
    gradient, none, slope = tape.gradient(total, [features, sure, layer.alpha])
    assert none is None
    for seed in range(3):
        way = 1e-6 * np.random.default_rng(seed).normal(size=FEATURES.shape)
        rise = naive(FEATURES + way, SURE, alpha=1.25) - naive(FEATURES - way, SURE, alpha=1.25)
        np.testing.assert_allclose(np.sum(gradient * way) / 1e-6, np.sum(shares * rise) / 2e-6, atol=1e-6)
    wanted = np.sum(shares * (naive(FEATURES, SURE, alpha=2.25) - naive(FEATURES, SURE, alpha=1.25)))
    np.testing.assert_allclose(slope, wanted, rtol=1e-6)


def test_images_and_units_count_one_by_one():
    y, generator = make()(FEATURES, SURE, training=True).numpy(), np.random.default_rng(2)
    rows, columns = generator.permutation(7), generator.permutation(10)
    moved = make()(FEATURES[rows][:, columns], SURE[rows], training=True)
    np.testing.assert_array_equal(moved, y[rows][:, columns])


def test_probabilities_beyond_0_and_1_are_cut():
    sure = np.array([-3, -1e-7, 1 + 1e-7, 9, 0.5, 1, 0])
    np.testing.assert_allclose(make()(FEATURES, sure, training=True), naive(FEATURES, sure), atol=1e-9)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32, tf.float64])
def test_equal_zero_and_huge_features_stay_finite_in_their_dtype(dtype):
    for value in (0.0, 1.0, -1.0, 3e4):
        features = tf.fill([7, 10], tf.constant(value, dtype))
        with tf.GradientTape() as tape:
            tape.watch(features)
            y = make()(features, tf.cast(SURE, dtype), training=True)
        assert y.dtype == dtype and np.isfinite(tf.cast(y, tf.float64)).all()
        assert np.isfinite(tf.cast(tape.gradient(y, features), tf.float64)).all()
    # Among equals the first are kept.
    assert (np.flatnonzero(y[-1]) == np.arange(5)).all()
    assert make()(features, SURE).dtype == dtype


def test_unknown_batch_size_and_one_variable():
    layer = make()
    graph = tf.function(lambda x, q: layer(x, q, training=True), input_signature=[
        tf.TensorSpec([None, 10], tf.float64), tf.TensorSpec([None], tf.float64)])
    for size in (7, 1):
        np.testing.assert_allclose(graph(FEATURES[:size], SURE[:size]), naive(FEATURES[:size], SURE[:size]), atol=1e-9)
    assert [variable.shape.as_list() for variable in layer.trainable_variables] == [[]]
    assert float(GuidedMaxoutLayer()(FEATURES, np.zeros(7), training=True)[0, 0]) == FEATURES[0, 0], "alpha starts at 1"


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match=rf"^`share` is {share} but must lie in \[0, 1\); use 0.5.$"):
        GuidedMaxoutLayer(share)


@pytest.mark.parametrize("features, sure", [
    (FEATURES, None), (FEATURES, SURE[:, None]), (FEATURES, SURE[:1]), (FEATURES[None], SURE), (FEATURES, 0.5)])
def test_shapes_that_would_broadcast_are_refused_in_training(features, sure):
    with pytest.raises(ValueError, match=r"`features` has shape .* `probability` is .* must be \[b, D\] and \[b\]"):
        make()(features, sure, training=True)
