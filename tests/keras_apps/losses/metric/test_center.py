import numpy as np
import pytest
import tensorflow as tf

from keras_apps.losses.metric.center import CenterLoss

LABELS = np.array([0, 2, 2, -1, 3, 0])
EMBEDDINGS = np.random.default_rng(0).normal(size=[6, 5])


def make(**words):
    return CenterLoss(**{"classes": 4, "dimension": 5, "seed": 1, **words})


def gradients(loss, embeddings, labels=LABELS, shares=1.0):
    embeddings = tf.constant(embeddings)
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        total = tf.reduce_sum(loss(embeddings, labels) * shares)
    return tape.gradient(total, [embeddings, loss.centres])


def naive(embeddings, labels, centres):
    values = []
    for f, label in zip(embeddings, labels):
        values.append(0.0 if label < 0 else sum((a - c) ** 2 for a, c in zip(f, centres[label])))
    return np.array(values)


@pytest.mark.parametrize("weight", [1.0, 5e-4])
def test_equals_the_loop_whatever_the_weight(weight):
    loss = make(weight=weight)
    wanted = naive(EMBEDDINGS, LABELS, loss.centres.numpy().astype(np.float64))
    np.testing.assert_allclose(loss(EMBEDDINGS, LABELS), wanted, atol=1e-9, rtol=0)


def test_points_placed_by_hand():
    loss = CenterLoss(classes=2, dimension=2)
    loss.centres.assign([[0, 0], [1, 1]])
    np.testing.assert_allclose(loss(np.array([[3.0, 4.0], [1.0, 3.0], [3.0, 4.0]]), [0, 1, -1]), [25, 4, 0])


def test_gradient_of_the_embeddings_is_twice_the_gap_whatever_the_weight():
    for weight in (1.0, 5e-4):
        loss = make(weight=weight)
        gap = EMBEDDINGS - loss.centres.numpy()[LABELS]
        np.testing.assert_allclose(gradients(loss, EMBEDDINGS)[0], 2 * gap * (LABELS >= 0)[:, None], atol=1e-9)


def test_gradient_of_the_centres_is_divided_by_the_weight():
    shares = np.random.default_rng(2).normal(size=6)    # every row counts with a weight of its own
    plain = gradients(make(), EMBEDDINGS, shares=shares)[1].numpy()
    loss, step = make(), 2.0**-10
    for place in ((0, 1), (2, 4), (3, 0), (1, 2)):
        totals = []
        for sign in (1, -1):
            moved = loss.centres.numpy()
            moved[place] += sign * step
            totals.append(np.sum(shares * naive(EMBEDDINGS, LABELS, moved.astype(np.float64))))
        np.testing.assert_allclose(plain[place], (totals[0] - totals[1]) / (2 * step), atol=1e-3)
    assert not plain[1].any(), "a class that is not in the batch"
    np.testing.assert_allclose(gradients(make(weight=5e-4), EMBEDDINGS, shares=shares)[1], plain / 5e-4, rtol=1e-5)


def test_as_a_term_of_its_weight_centres_move_as_if_it_were_one():
    def moved(weight):
        loss = make(weight=weight)
        with tf.GradientTape() as tape:
            total = weight * tf.reduce_mean(loss(EMBEDDINGS, LABELS))
        tf.keras.optimizers.legacy.SGD(0.5).apply_gradients([(tape.gradient(total, loss.centres), loss.centres)])
        return loss.centres.numpy()
    np.testing.assert_allclose(moved(5e-4), moved(1.0), atol=1e-5)
    assert np.abs(moved(5e-4) - make().centres.numpy()).max() > 0.1


def test_centres_end_at_the_means_of_their_classes():
    loss = make(weight=1e-3)
    for _ in range(60):
        loss.centres.assign_sub(0.25e-3 * gradients(loss, EMBEDDINGS)[1])
    for label in (0, 2, 3):
        np.testing.assert_allclose(loss.centres[label], EMBEDDINGS[LABELS == label].mean(0), atol=1e-5)
    np.testing.assert_array_equal(loss.centres[1], make().centres[1])


def test_unknown_rows_touch_neither_side_even_when_they_are_not_finite():
    embeddings = np.where((LABELS >= 0)[:, None], EMBEDDINGS, np.nan)
    loss = make()
    assert np.isfinite(loss(embeddings, LABELS)).all()
    for part in gradients(loss, embeddings):
        assert np.isfinite(part).all()
    for part in gradients(loss, EMBEDDINGS, np.full(6, -1)):
        assert not part.numpy().any()


def test_names_of_classes_play_no_part_if_the_centres_move_along():
    loss, names = make(), np.array([2, 0, 3, 1])
    value = loss(EMBEDDINGS, LABELS).numpy()
    loss.centres.assign(loss.centres.numpy()[np.argsort(names)])
    np.testing.assert_array_equal(loss(EMBEDDINGS, np.where(LABELS < 0, -1, names[LABELS])), value)


def test_one_variable_from_the_seed():
    assert [variable.name for variable in make().trainable_variables] == ["centres:0"]
    large = CenterLoss(200, 50, seed=3).centres.numpy()
    assert abs(large.mean()) < 0.03 and abs(large.std() - 1) < 0.03
    np.testing.assert_array_equal(CenterLoss(200, 50, seed=3).centres, large)
    assert np.abs(CenterLoss(200, 50, seed=4).centres - large).max() > 1


@pytest.mark.parametrize("words, told", [
    ({"classes": 0}, "`classes` is 0 "), ({"dimension": 0}, "`dimension` is 0 "), ({"weight": 0}, "`weight` is 0 "),
    ({"weight": -1.0}, "`weight` is -1.0 "), ({"weight": float("nan")}, "`weight` is nan "),
])
def test_wrong_settings_are_refused(words, told):
    with pytest.raises(ValueError, match=told):
        make(**words)
