"""Every pair loss in the folder, in every form: (first, second, same) -> one value a pair."""

import inspect
import itertools

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.build import build, method_class, methods, parse
from tests.contracts.replicas import variants

SAME = np.array([1, 0, 1, 0, -1, 0, 1, 0, 0, 1])
# Short: a margin meant for unit vectors bites on unnormalised ones too.
FIRST, SECOND = 0.25 * np.random.default_rng(0).normal(size=[2, 10, 5])


def make(text):
    return build("losses/pair", text, dimension=5, seed=1)


def forms(name):
    """Every distance alone and with each switch turned; those that build."""
    given = inspect.signature(method_class("losses/pair", name)).parameters.values()
    switches = [{}] + [{each.name: not each.default} for each in given if isinstance(each.default, bool)]
    found = {}
    for text, switch in itertools.product(variants("losses/pair", name), switches):
        words = {**parse(text)[1], **switch}
        text = f"{name}({', '.join(f'{key}={value!r}' for key, value in words.items())})"
        try:
            found.setdefault(str(sorted(vars(make(text)).items())), text)
        except ValueError:  # some choices exclude each other
            pass
    return list(found.values())


@pytest.fixture(params=[text for name in methods("losses/pair") for text in forms(name)])
def loss(request):
    return make(request.param)


def value_and_gradient(loss, first, second, same=SAME, weights=1.0):
    """[b] values; the gradient of their weighted sum at both embeddings, [2, b, D]."""
    first, second = tf.convert_to_tensor(first), tf.convert_to_tensor(second)
    with tf.GradientTape() as tape:
        tape.watch([first, second])
        value = loss(first, second, same)
        total = tf.reduce_sum(value * weights)
    return value, tf.stack(tape.gradient(total, [first, second]))


def test_one_value_a_pair_in_float32_or_wider(loss):
    for dtype, wanted in ((tf.float16, tf.float32), (tf.bfloat16, tf.float32), (tf.float32, tf.float32),
                          (tf.float64, tf.float64)):
        first, second = tf.cast(FIRST, dtype), tf.cast(SECOND, dtype)
        value = loss(first, second, SAME)
        assert value.shape == [10] and value.dtype == wanted and (value.numpy() >= 0).all() and value.numpy().any()
        np.testing.assert_array_equal(value, loss(tf.cast(first, wanted), tf.cast(second, wanted), SAME))


@pytest.mark.parametrize("kind", [tf.bool, tf.int32])
def test_graph_of_unknown_batch_size_equals_eager(loss, kind):
    spec = tf.TensorSpec([None, 5], tf.float64)
    graph = tf.function(lambda *words: value_and_gradient(loss, *words),
                        input_signature=[spec, spec, tf.TensorSpec([None], kind)])
    for size in (10, 1):
        words = FIRST[:size], SECOND[:size], tf.cast(SAME[:size] == 1, kind)
        for got, wanted in zip(graph(*words), value_and_gradient(loss, *words)):
            np.testing.assert_allclose(got, wanted, atol=1e-12)


def test_gradient_matches_central_differences(loss):
    step, generator = 1e-6, np.random.default_rng(6)
    shares = generator.normal(size=10)
    _, gradient = value_and_gradient(loss, FIRST, SECOND, weights=shares)
    for _ in range(3):
        way = generator.normal(size=[2, 10, 5])
        rise = loss(FIRST + step * way[0], SECOND + step * way[1], SAME)
        rise -= loss(FIRST - step * way[0], SECOND - step * way[1], SAME)
        np.testing.assert_allclose(np.sum(gradient * way), np.sum(rise * shares) / (2 * step), atol=1e-6)


def test_pairs_count_one_by_one_and_either_may_be_first(loss):
    value, order = loss(FIRST, SECOND, SAME).numpy(), np.random.default_rng(1).permutation(10)
    np.testing.assert_allclose(loss(FIRST[order], SECOND[order], SAME[order]), value[order], atol=1e-12)
    np.testing.assert_allclose([loss(FIRST[i:i + 1], SECOND[i:i + 1], SAME[i:i + 1])[0] for i in range(10)], value,
                               atol=1e-12)
    np.testing.assert_allclose(loss(SECOND, FIRST, SAME), value, atol=1e-12)


def test_rotation_plays_no_part_nor_does_length_where_it_is_taken_off(loss):
    value, turn = loss(FIRST, SECOND, SAME), np.linalg.qr(np.random.default_rng(2).normal(size=[5, 5]))[0]
    np.testing.assert_allclose(loss(FIRST @ turn, SECOND @ turn, SAME), value, atol=1e-12)
    if getattr(loss, "normalise", False):
        longer = np.arange(1, 11)[:, None]
        np.testing.assert_allclose(loss(longer * FIRST, SECOND / longer, SAME), value, atol=1e-12)


def test_an_unknown_pair_is_exactly_zero(loss):
    value, gradient = value_and_gradient(loss, FIRST, SECOND)
    assert value.numpy()[SAME == 1].all() and not value.numpy()[SAME < 0].any()
    assert not gradient.numpy()[:, SAME < 0].any()


def test_equal_embeddings_do_not_move(loss):
    for rows in (FIRST, 0 * FIRST, 0 * FIRST + 0.3, 4e15 * FIRST):
        value, gradient = value_and_gradient(loss, rows.astype(np.float32), rows.astype(np.float32))
        assert np.isfinite(value).all() and not gradient.numpy().any()
        assert not rows.any() or not value.numpy()[SAME == 1].any()


def test_zero_and_huge_embeddings_stay_finite(loss):
    for size in (0, 1e-30, 4e15):
        for first, second in ((size * FIRST, SECOND), (size * FIRST, size * SECOND)):
            value, gradient = value_and_gradient(loss, first.astype(np.float32), second.astype(np.float32))
            assert (value.numpy() >= 0).all() and np.isfinite(value).all() and np.isfinite(gradient).all()


def test_better_embeddings_have_a_smaller_loss(loss):
    generator, labels = np.random.default_rng(3), np.arange(40) % 4
    partners, noise = np.where(np.arange(40) < 20, labels, (labels + 1) % 4), generator.normal(size=[2, 40, 5])
    good, fair, bad = (np.mean(loss(3 * np.eye(5)[labels] + spread * noise[0], 3 * np.eye(5)[partners]
                                    + spread * noise[1], labels == partners)) for spread in (0.05, 2, 20))
    assert good < fair < bad
