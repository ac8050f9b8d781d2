import numpy as np
import pytest
import tensorflow as tf

from keras_apps.losses.metric.contrastive import ContrastiveLoss

FORMS = [
    {"distance": "cosine", "squared": True}, {"distance": "cosine", "squared": False},
    {"distance": "euclidean", "squared": True}, {"distance": "euclidean", "squared": False},
    {"distance": "euclidean", "squared": True, "normalise": False, "margin": 3.0},
]
LABELS = np.array([0, 0, 0, 1, 1, 2, -1, -1, 3])


@pytest.fixture
def embeddings():
    return np.random.default_rng(0).normal(size=[9, 4])


def naive(embeddings, labels, margin=0.5, distance="cosine", squared=True, normalise=True):
    if normalise:
        embeddings = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    values = []
    for i in range(len(labels)):
        pulls, pushes = [], []
        for j in range(len(labels)):
            if j == i or labels[i] < 0 or labels[j] < 0:
                continue
            if distance == "cosine":
                d = 1 - embeddings[i] @ embeddings[j]
            else:
                d = np.linalg.norm(embeddings[i] - embeddings[j])
            if labels[i] == labels[j]:
                pulls.append(d**2 / 2 if squared else d)
            else:
                pushes.append(max(margin - d, 0) ** 2 / 2 if squared else max(margin - d, 0))
        values.append(sum(pulls) / max(len(pulls), 1) + sum(pushes) / max(len(pushes), 1))
    return np.array(values)


def value_and_gradient(loss, embeddings, labels):
    embeddings = tf.constant(embeddings)
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        value = loss(embeddings, labels)
    return value.numpy(), tf.convert_to_tensor(tape.gradient(value, embeddings)).numpy()


@pytest.mark.parametrize("form", FORMS)
def test_equals_the_loop(form, embeddings):
    got = ContrastiveLoss(**{"margin": 0.9, **form})(embeddings, LABELS)
    np.testing.assert_allclose(got, naive(embeddings, LABELS, **{"margin": 0.9, **form}), atol=1e-9, rtol=0)
    assert got.dtype == tf.float64


def test_points_placed_by_hand():
    # Unit circle: 0 and 90 degrees are one class, 180 the other. Cosine distances 1, 2 and 1.
    points = np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    value = ContrastiveLoss(margin=1.5)(points, [7, 7, 8])
    np.testing.assert_allclose(value, [0.5, 0.5 + 0.125, (0 + 0.125) / 2], atol=1e-12)
    value = ContrastiveLoss(margin=1.5, squared=False)(points, [7, 7, 8])
    np.testing.assert_allclose(value, [1, 1 + 0.5, 0.25], atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_gradient_matches_central_differences(form, embeddings):
    loss, step = ContrastiveLoss(**{"margin": 0.9, **form}), 1e-5
    generator = np.random.default_rng(6)
    shares = generator.normal(size=9)  # every anchor counts with a weight of its own
    _, gradient = value_and_gradient(lambda *batch: loss(*batch) * shares, embeddings, LABELS)
    for _ in range(3):
        way = generator.normal(size=embeddings.shape)
        rise = loss(embeddings + step * way, LABELS) - loss(embeddings - step * way, LABELS)
        np.testing.assert_allclose(np.sum(gradient * way), np.sum(rise * shares) / (2 * step), atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_order_names_and_rotation_play_no_part(form, embeddings):
    loss = ContrastiveLoss(**form)
    value = loss(embeddings, LABELS).numpy()
    order = np.random.default_rng(1).permutation(9)
    np.testing.assert_allclose(loss(embeddings[order], LABELS[order]), value[order], atol=1e-12)
    renamed = np.where(LABELS < 0, LABELS, 90 - 7 * LABELS)
    np.testing.assert_allclose(loss(embeddings, renamed), value, atol=1e-12)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=[4, 4]))[0]
    np.testing.assert_allclose(loss(embeddings @ turn, LABELS), value, atol=1e-12)
    if form.get("normalise", True):
        np.testing.assert_allclose(loss(embeddings * np.arange(1, 10)[:, None], LABELS), value, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_unknown_labels_change_nothing(form, embeddings):
    loss = ContrastiveLoss(**form)
    value = loss(embeddings, LABELS).numpy()
    known = LABELS >= 0
    assert not value[~known].any()
    np.testing.assert_allclose(loss(embeddings[known], LABELS[known]), value[known], atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("labels", [[-1, -1, -1], [5, -1, -2]])
def test_no_pair_gives_exactly_zero(form, labels, embeddings):
    value, gradient = value_and_gradient(ContrastiveLoss(**form), embeddings[:3], np.array(labels))
    assert not value.any() and not gradient.any()


@pytest.mark.parametrize("form", FORMS)
def test_equal_and_zero_and_huge_inputs_stay_finite(form, embeddings):
    loss = ContrastiveLoss(**form)
    for batch in (np.full([9, 4], 0.3), np.zeros([9, 4]), embeddings * 1e15):
        value, gradient = value_and_gradient(loss, batch.astype(np.float32), LABELS)
        assert np.isfinite(value).all() and np.isfinite(gradient).all() and (value >= 0).all()


def test_one_class_only_pulls(embeddings):
    value = ContrastiveLoss()(embeddings, np.zeros(9, int)).numpy()
    np.testing.assert_allclose(value, naive(embeddings, np.zeros(9, int)), atol=1e-12)


def test_a_collapse_is_optimal_only_without_negatives():
    points = np.ones([4, 3])
    np.testing.assert_allclose(ContrastiveLoss()(points, [0, 0, 0, 0]), 0, atol=1e-15)
    assert (ContrastiveLoss()(points, [0, 0, 1, 1]).numpy() > 0.1).all()


@pytest.mark.parametrize("form", FORMS)
def test_better_embeddings_have_a_smaller_loss(form):
    generator = np.random.default_rng(3)
    labels = np.repeat(np.arange(4), 3)
    noise, centres = generator.normal(size=[12, 4]), 3 * np.eye(4)[labels]
    loss = ContrastiveLoss(**form)
    means = [float(tf.reduce_mean(loss(centres + spread * noise, labels))) for spread in (0.05, 0.7, 20)]
    assert means[0] < means[1] < means[2]


def test_half_precision_is_computed_in_float32(embeddings):
    for dtype in (tf.float16, tf.bfloat16):
        half = tf.cast(embeddings, dtype)
        value = ContrastiveLoss()(half, LABELS)
        assert value.dtype == tf.float32
        np.testing.assert_array_equal(value, ContrastiveLoss()(tf.cast(half, tf.float32), LABELS))


def test_graph_of_unknown_batch_size_equals_eager(embeddings):
    loss = ContrastiveLoss()
    graph = tf.function(loss.__call__, input_signature=[
        tf.TensorSpec([None, 4], tf.float64), tf.TensorSpec([None], tf.int32)])
    for size in (9, 4):
        np.testing.assert_allclose(graph(embeddings[:size], LABELS[:size].astype(np.int32)),
                                   loss(embeddings[:size], LABELS[:size]), atol=1e-12)


@pytest.mark.parametrize("words, told", [
    ({"margin": 0}, "`margin` is 0 "), ({"margin": -1}, "`margin` is -1 "),
    ({"margin": float("nan")}, "`margin` is nan"),
    ({"margin": 2.5}, "never exceeds 2"), ({"distance": "manhattan"}, "cosine, euclidean"),
    ({"normalise": False}, "distance='euclidean'"),
])
def test_wrong_settings_are_refused(words, told):
    with pytest.raises(ValueError, match=told):
        ContrastiveLoss(**words)
