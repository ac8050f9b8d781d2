"""Every head in the folder: what `.loss(embeddings, labels, step)` and `.logits(embeddings)` promise to the loop.

Where not every head can promise the same, a head is held to what its own docstring says.
"""

import math

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.build import build, method_class, methods

NAMES = methods("heads")
CLASSES, DIMENSION = 4, 5
LABELS = np.array([0, 3, 2, -1, 3, 1])
STEP = 10_000  # past any warm-up
EMBEDDINGS = np.random.default_rng(0).normal(size=[6, DIMENSION])


def says(name, phrase):
    """Whether the head's docstring holds the phrase."""
    return phrase in " ".join(method_class("heads", name).__doc__.split())


def saying(phrase):
    found = [name for name in NAMES if says(name, phrase)]
    assert found, f"no head says {phrase!r}"
    return found


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def make(name, **words):
    return build("heads", name, **{"classes": CLASSES, "dimension": DIMENSION, "seed": 1, **words})


def trained(name):
    """A head off its first weights, at which one may hardly tell the classes apart. New for every reading: a
    head may keep running statistics."""
    head, generator = make(name), np.random.default_rng(1)
    for variable in head.trainable_variables:
        # A factor of less than 0 would turn its class around.
        spread = 0.1 if (variable.numpy() == 1).all() else 1
        variable.assign_add(spread * generator.normal(size=variable.shape))
    return head


def in_float32(name):
    """Whether the head computes in float32 whatever it is given."""
    return says(name, "what is normalised is so in float32")


def digits(name):
    """How exactly two ways to one value agree."""
    return 1e-5 if in_float32(name) else 1e-12


def loss(name, embeddings, labels=LABELS):
    return trained(name).loss(embeddings, labels, STEP).numpy()


def value_and_gradients(head, embeddings, labels=LABELS, weights=1.0):
    """[b] values; the gradients of their weighted sum, that of the embeddings first."""
    embeddings = tf.convert_to_tensor(embeddings)
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        value = head.loss(embeddings, labels, STEP)
        total = tf.reduce_sum(value * weights)
    return value, [tf.convert_to_tensor(part)
                   for part in tape.gradient(total, [embeddings, *head.trainable_variables])]


def class_vectors(head):
    """The vectors [K, D] that stand for the classes; of several a class, the first."""
    for variable in head.trainable_variables:
        if variable.shape[0] == CLASSES and variable.shape[-1] == DIMENSION:
            return variable.numpy().reshape([CLASSES, -1, DIMENSION])[:, 0]
    pytest.skip("no vector a class")


def move(head, length, axis_changed):
    """Assigns `axis_changed(values, axis)` to each variable that has an axis of that length."""
    for variable in head.variables:
        for axis in [axis for axis, size in enumerate(variable.shape) if size == length]:
            variable.assign(axis_changed(variable.numpy(), axis))


def test_one_value_a_row_and_one_logit_a_class(name):
    head = trained(name)
    assert isinstance(head.local, tuple)
    for dtype in (np.float32, np.float64):
        values, logits = head.loss(EMBEDDINGS.astype(dtype), LABELS, STEP), head.logits(EMBEDDINGS.astype(dtype))
        assert values.shape == [6] and logits.shape == [6, CLASSES]
        assert values.dtype == logits.dtype == dtype


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_is_computed_in_float32(dtype, name):
    half = tf.cast(EMBEDDINGS, dtype)
    value = trained(name).loss(half, LABELS, STEP)
    assert value.dtype == trained(name).logits(half).dtype == tf.float32
    np.testing.assert_array_equal(value, loss(name, tf.cast(half, tf.float32)))


def test_graph_of_unknown_batch_size_equals_eager(name):
    head, eager = trained(name), trained(name)

    @tf.function(input_signature=[tf.TensorSpec([None, DIMENSION], tf.float64), tf.TensorSpec([None], tf.int32)])
    def graph(embeddings, labels):
        value, gradients = value_and_gradients(head, embeddings, labels)
        return [value, head.logits(embeddings), *gradients]

    for size in (6, 4):
        part, labels = EMBEDDINGS[:size], LABELS[:size].astype(np.int32)
        value, gradients = value_and_gradients(eager, part, labels)
        for got, wanted in zip(graph(part, labels), [value, eager.logits(part), *gradients]):
            np.testing.assert_allclose(got, wanted, atol=digits(name) if got.dtype == tf.float64 else 1e-6)


def test_gradient_matches_central_differences(name):
    if says(name, "weights carry no gradient"):
        pytest.skip("its gradient is not meant to be that of its value")
    generator = np.random.default_rng(6)
    # In float32 a small step drowns in rounding.
    step, change, allowed, rough = (3e-3, 2.0**-8, 2e-3, 1e-2) if in_float32(name) else (1e-5, 2.0**-12, 1e-6, 1e-4)
    shares = generator.normal(size=6)  # every row counts with a weight of its own
    _, (exact, *slopes) = value_and_gradients(trained(name), EMBEDDINGS, weights=shares)
    for _ in range(DIMENSION):
        way = generator.normal(size=EMBEDDINGS.shape)
        rise = loss(name, EMBEDDINGS + step * way) - loss(name, EMBEDDINGS - step * way)
        np.testing.assert_allclose(np.sum(exact * way), np.sum(rise * shares) / (2 * step), atol=allowed)
    for i, slope in enumerate(slopes):
        head = trained(name)
        variable = head.trainable_variables[i]
        start, way = variable.numpy(), generator.normal(size=variable.shape) * change
        ends = [(start + sign * way).astype(np.float32) for sign in (1, -1)]
        totals = []
        for end in ends:
            variable.assign(end)
            totals.append(np.sum(head.loss(EMBEDDINGS, LABELS, STEP) * shares))
        across = ends[0].astype(np.float64) - ends[1]  # as rounded to the weights' float32
        np.testing.assert_allclose(np.sum(slope * across), totals[0] - totals[1], rtol=rough, atol=1e-4 * rough)


def test_order_of_rows_plays_no_part(name):
    order = np.random.default_rng(2).permutation(6)
    np.testing.assert_allclose(loss(name, EMBEDDINGS[order], LABELS[order]), loss(name, EMBEDDINGS)[order],
                               atol=digits(name))


def test_names_of_classes_play_no_part(name):
    names, head = np.array([2, 0, 3, 1]), trained(name)  # class j becomes names[j]
    move(head, CLASSES, lambda values, axis: np.take(values, np.argsort(names), axis))
    renamed = np.where(LABELS < 0, -1, names[LABELS])
    np.testing.assert_allclose(head.loss(EMBEDDINGS, renamed, STEP), loss(name, EMBEDDINGS), atol=digits(name))


def test_rows_without_a_label_are_zero_and_change_nothing(name):
    value, known = loss(name, EMBEDDINGS), LABELS >= 0
    assert not value[~known].any() and value[known].any()
    if not says(name, "is part of the statistics of the batch"):
        np.testing.assert_allclose(loss(name, EMBEDDINGS[known], LABELS[known]), value[known], atol=1e-12)


def test_a_batch_without_labels_is_zero_with_zero_gradient(name):
    value, gradients = value_and_gradients(trained(name), EMBEDDINGS, np.full(6, -1))
    assert not value.numpy().any()
    assert not any(part.numpy().any() for part in gradients)


@pytest.mark.parametrize("size", [0, 1e-30, 1e30])
def test_zero_tiny_and_huge_inputs_stay_finite(size, name):
    value, gradients = value_and_gradients(trained(name), (size * EMBEDDINGS).astype(np.float32))
    assert all(np.isfinite(part).all() for part in (value, *gradients)) and (value.numpy() >= 0).all()


@pytest.mark.parametrize("labels", [LABELS, np.zeros(6, int)])
def test_identical_rows_and_one_class_stay_finite(labels, name):
    value, gradients = value_and_gradients(trained(name), np.full([6, DIMENSION], 0.3, np.float32), labels)
    assert all(np.isfinite(part).all() for part in (value, *gradients))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("ready", [make, trained])
def test_embeddings_on_their_class_vector_or_opposite_have_finite_gradients(ready, sign, name):
    head = ready(name)
    value, gradients = value_and_gradients(head, sign * class_vectors(head), np.arange(CLASSES))
    assert np.isfinite(value).all() and np.abs(gradients[0]).max() < 50


def test_better_embeddings_have_a_smaller_loss(name):
    own, labels = class_vectors(trained(name)), np.arange(CLASSES)
    away = np.random.default_rng(4).normal(size=[8, *own.shape])
    losses = [np.mean([loss(name, batch.astype(np.float32), labels) for batch in batches])
              for batches in ([own], own + 0.5 * away, [-own])]
    assert losses[0] < losses[1] < losses[2]


def test_first_weights_follow_the_seed(name):
    one, again, other = ([part.numpy() for part in make(name, seed=seed).trainable_variables] for seed in (3, 3, 4))
    for first, same in zip(one, again):
        np.testing.assert_array_equal(first, same)
    if says(name, "all weights start at zero"):
        assert one and not any(first.any() for first in [*one, *other])
    else:
        assert not one or any(np.abs(first - new).max() > np.std(first) > 0 for first, new in zip(one, other))


@pytest.mark.parametrize("words, told", [({"classes": 1}, "`classes` is 1 "), ({"dimension": 0}, "`dimension` is 0 ")])
def test_impossible_sizes_are_refused(words, told, name):
    with pytest.raises(ValueError, match=told):
        make(name, **words)


@pytest.mark.parametrize("name", saying("(normalised here)"))
def test_length_and_rotation_play_no_part(name):
    value = loss(name, EMBEDDINGS)
    np.testing.assert_allclose(loss(name, EMBEDDINGS * np.arange(1, 7)[:, None]), value, atol=1e-12)
    turn, head = np.linalg.qr(np.random.default_rng(3).normal(size=[DIMENSION, DIMENSION]))[0], trained(name)
    move(head, DIMENSION, lambda values, axis: np.moveaxis(np.moveaxis(values, axis, -1) @ turn, -1, axis))
    np.testing.assert_allclose(head.loss(EMBEDDINGS @ turn, LABELS, STEP), value, atol=1e-5)  # weights are float32


@pytest.mark.parametrize("name", saying("= s cos"))
def test_logits_are_scaled_cosines_without_margin(name):
    head = trained(name)
    assert [variable.shape.as_list() for variable in head.trainable_variables] == [[CLASSES, DIMENSION]]
    assert head.local == ()
    weights = head.weights.numpy() / np.linalg.norm(head.weights.numpy(), axis=1, keepdims=True)
    wanted = head.scale * EMBEDDINGS @ weights.T / np.linalg.norm(EMBEDDINGS, axis=1, keepdims=True)
    np.testing.assert_allclose(head.logits(EMBEDDINGS), wanted, atol=1e-5)
    value = head.loss(EMBEDDINGS, LABELS, STEP)
    head.weights.assign(2 * head.weights)
    np.testing.assert_allclose(head.loss(EMBEDDINGS, LABELS, STEP), value, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(make(name, classes=40, dimension=64).weights, axis=1), 1, atol=0.4)


@pytest.mark.parametrize("name", saying("None = log((K - 1) P / (1 - P)) with P = 0.99"))
def test_scale_none_lets_a_perfect_embedding_reach_99_percent(name):
    for classes in (2, 10, 1000):
        scale = make(name, classes=classes, scale=None).scale
        assert math.exp(scale) / (math.exp(scale) + classes - 1) == pytest.approx(0.99)


@pytest.mark.parametrize("name", saying("scale: s > 0"))
@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_a_scale_out_of_range_is_refused(scale, name):
    with pytest.raises(ValueError, match=f"`scale` is {scale} "):
        make(name, scale=scale)


@pytest.mark.parametrize("name", saying("margin grows linearly from 0"))
def test_warmup_grows_the_margin_linearly(name):
    graph = tf.function(make(name, margin=0.4, warmup=10).loss)
    for step, margin in ((0, 0.0), (5, 0.2), (10, 0.4), (99, 0.4)):
        fixed = make(name, margin=margin)
        np.testing.assert_allclose(graph(EMBEDDINGS, LABELS, tf.constant(step, tf.int64)),
                                   fixed.loss(EMBEDDINGS, LABELS, 0), atol=1e-12)


@pytest.mark.parametrize("name", saying("margin grows linearly from 0"))
def test_without_its_margin_a_head_is_the_normalised_one(name):
    plain, bare = (make(kind, scale=7.0, **words) for kind, words in (("normalised", {}), (name, {"margin": 0})))
    np.testing.assert_allclose(bare.loss(EMBEDDINGS, LABELS, 0), plain.loss(EMBEDDINGS, LABELS, 0), atol=1e-12)


@pytest.mark.parametrize("name", saying("margin grows linearly from 0"))
def test_a_warmup_below_zero_is_refused(name):
    with pytest.raises(ValueError, match="`warmup` is -1 "):
        make(name, warmup=-1)
