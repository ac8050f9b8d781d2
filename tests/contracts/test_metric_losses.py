"""Every metric loss in the folder, in every form: what `loss(embeddings, labels)` promises to the loop.

Where not every loss can promise the same, a loss is held to what its own docstring says.
"""

import functools
import inspect
import itertools

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.build import build, method_class, methods, parse
from tests.contracts.replicas import variants

LABELS = np.array([0, 0, 0, 1, 1, 2, -1, -1, 3, 3])
# Short: a margin meant for unit vectors bites on unnormalised ones too.
EMBEDDINGS = 0.25 * np.random.default_rng(0).normal(size=[10, 5])


def make(text):
    return build("losses/metric", text, classes=4, dimension=5, seed=1)


def accepted(texts):
    """The texts that build, one a set of attributes: a default written out is not another form."""
    found = {}
    for text in texts:
        try:
            found.setdefault(str(sorted(vars(make(text)).items())), text)
        except ValueError:  # some choices exclude each other
            pass
    return list(found.values())


def forms(name):
    """Every mining with every distance, and every switch turned with every mining and with every distance."""
    singles = [parse(text)[1] for text in variants("losses/metric", name)]
    given = inspect.signature(method_class("losses/metric", name)).parameters.values()
    switches = [{each.name: not each.default} for each in given if isinstance(each.default, bool)]
    words = [{**one, **other} for one, other in itertools.product(singles, singles + switches)]
    return accepted(f"{name}({', '.join(f'{key}={value!r}' for key, value in each.items())})" for each in words)


NAMES = methods("losses/metric")
FORMS = [text for name in NAMES for text in forms(name)]
VARIANTS = [text for name in NAMES for text in accepted(variants("losses/metric", name))]


@pytest.fixture(params=FORMS)
def text(request):
    return request.param


def says(text, phrase):
    """Whether the docstring of the form's class holds the phrase."""
    return phrase in " ".join(method_class("losses/metric", parse(text)[0]).__doc__.split())


def stateless(text):
    """A loss with class centres or a learned distance has more than the batch to go by."""
    return not getattr(make(text), "variables", ())


@functools.cache
def values(text):
    return make(text)(EMBEDDINGS, LABELS).numpy()


def value_and_gradient(loss, embeddings, labels=LABELS, weights=1.0):
    """[b] values; the gradient of their weighted sum."""
    embeddings = tf.convert_to_tensor(embeddings)
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        value = loss(embeddings, labels)
        total = tf.reduce_sum(value * weights)
    return value, tf.convert_to_tensor(tape.gradient(total, embeddings))


def test_one_value_an_anchor(text):
    for dtype in (np.float32, np.float64):
        value = make(text)(EMBEDDINGS.astype(dtype), LABELS)
        assert value.shape == [10] and value.dtype == dtype and value.numpy().any()


@pytest.mark.parametrize("text", VARIANTS)
@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_is_computed_in_float32(dtype, text):
    half = tf.cast(EMBEDDINGS, dtype)
    value = make(text)(half, LABELS)
    assert value.dtype == tf.float32
    np.testing.assert_array_equal(value, make(text)(tf.cast(half, tf.float32), LABELS))


@pytest.mark.parametrize("text", VARIANTS)
def test_graph_of_unknown_batch_size_equals_eager(text):
    loss = make(text)

    @tf.function(input_signature=[tf.TensorSpec([None, 5], tf.float64), tf.TensorSpec([None], tf.int32)])
    def graph(embeddings, labels):
        return value_and_gradient(loss, embeddings, labels)

    for size in (10, 4):
        part, labels = EMBEDDINGS[:size], LABELS[:size].astype(np.int32)
        for got, wanted in zip(graph(part, labels), value_and_gradient(make(text), part, labels)):
            np.testing.assert_allclose(got, wanted, atol=1e-12)


def test_gradient_matches_central_differences(text):
    if says(text, "weights carry no gradient"):
        pytest.skip("its gradient is not meant to be that of its value")
    loss, step, generator = make(text), 1e-5, np.random.default_rng(6)
    shares = generator.normal(size=10)  # every anchor counts with a weight of its own
    _, gradient = value_and_gradient(loss, EMBEDDINGS, weights=shares)
    for _ in range(3):
        way = generator.normal(size=EMBEDDINGS.shape)
        rise = loss(EMBEDDINGS + step * way, LABELS) - loss(EMBEDDINGS - step * way, LABELS)
        np.testing.assert_allclose(np.sum(gradient * way), np.sum(rise * shares) / (2 * step), atol=1e-6)


def test_order_and_names_play_no_part(text):
    value, order = values(text), np.random.default_rng(1).permutation(10)
    if "mining='random'" not in text:       # its triplets follow from the places in the batch
        np.testing.assert_allclose(make(text)(EMBEDDINGS[order], LABELS[order]), value[order], atol=1e-12)
    if stateless(text):
        renamed = np.where(LABELS < 0, LABELS, 90 - 7 * LABELS)
        np.testing.assert_allclose(make(text)(EMBEDDINGS, renamed), value, atol=1e-12)


@pytest.mark.parametrize("text", [text for text in FORMS if stateless(text)])
def test_rotation_plays_no_part(text):
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=[5, 5]))[0]
    np.testing.assert_allclose(make(text)(EMBEDDINGS @ turn, LABELS), values(text), atol=1e-12)


@pytest.mark.parametrize("text", [text for text in FORMS if says(text, "(normalised here")
                                  and getattr(make(text), "normalise", True)])
def test_length_plays_no_part(text):
    longer = EMBEDDINGS * np.arange(1, 11)[:, None]
    np.testing.assert_allclose(make(text)(longer, LABELS), values(text), atol=1e-12)


def test_unknown_labels_change_nothing(text):
    value, known = values(text), LABELS >= 0
    assert not value[~known].any()
    np.testing.assert_allclose(make(text)(EMBEDDINGS[known], LABELS[known]), value[known], atol=1e-12)


def test_no_pair_gives_exactly_zero(text):
    batches = [[-1, -1, -1]]
    if stateless(text):
        batches.append([5, -1, -2])
    if says(text, "without a positive or without a negative"):
        batches += [[0, 0, 0], [0, 1, 2], [0, 0, -1]]
    for labels in batches:
        value, gradient = value_and_gradient(make(text), EMBEDDINGS[:3], np.array(labels))
        assert not value.numpy().any() and not gradient.numpy().any(), labels


def test_equal_and_zero_and_huge_inputs_stay_finite(text):
    for batch in (np.full([10, 5], 0.3), np.zeros([10, 5]), EMBEDDINGS * 4e15):
        value, gradient = value_and_gradient(make(text), batch.astype(np.float32))
        assert np.isfinite(value).all() and np.isfinite(gradient).all()
        assert not says(text, "Returns: [b], >= 0") or (value.numpy() >= 0).all()


def test_better_embeddings_have_a_smaller_loss(text):
    generator, labels = np.random.default_rng(3), np.repeat(np.arange(4), 3)
    noise, centres = generator.normal(size=[12, 5]), 3 * np.eye(5)[labels]
    good, fair, bad = (np.mean(make(text)(centres + spread * noise, labels)) for spread in (0.05, 2, 20))
    assert good < fair < bad
