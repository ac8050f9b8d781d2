import numpy as np
import pytest
import tensorflow as tf

from keras_apps.losses.views.nt_xent import NtXentLoss

VIEWS = np.random.default_rng(0).normal(size=[5, 4, 3])


def naive(views, temperature=0.5):
    """Each view of each image, against each other view of each image."""
    unit = views / np.linalg.norm(views, axis=2, keepdims=True)
    places = [(i, v) for i in range(len(views)) for v in range(views.shape[1])]
    values = np.zeros(len(views))
    for i, v in places:
        near = {(k, w): np.exp(unit[i, v] @ unit[k, w] / temperature) for k, w in places if (k, w) != (i, v)}
        own = [-np.log(near[i, u] / sum(near.values())) for u in range(views.shape[1]) if u != v]
        values[i] += np.mean(own) / views.shape[1]
    return values


def value_and_gradient(loss, views):
    views = tf.constant(views)
    with tf.GradientTape() as tape:
        tape.watch(views)
        value = loss(views, None)
    return value.numpy(), tape.gradient(value, views).numpy()


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("temperature", [0.05, 0.5, 3])
def test_equals_the_loop(count, temperature):
    wanted = naive(VIEWS[:, :count], temperature)
    np.testing.assert_allclose(NtXentLoss(temperature)(VIEWS[:, :count]), wanted, atol=1e-9, rtol=0)


@pytest.mark.parametrize("count", [2, 3])
def test_gradient_matches_central_differences_of_the_loop(count):
    views = VIEWS[:, :count]
    _, gradient = value_and_gradient(NtXentLoss(), views)
    for seed in range(3):
        way = np.random.default_rng(seed).normal(size=views.shape)
        rise = naive(views + 1e-6 * way).sum() - naive(views - 1e-6 * way).sum()
        np.testing.assert_allclose(np.sum(gradient * way), rise / 2e-6, atol=1e-6)


def test_points_placed_by_hand():
    # Two images on the axes: each view has its like at cosine 1 and two others at cosine 0.
    views = np.array([[[1.0, 0.0], [2.0, 0.0]], [[0.0, 3.0], [0.0, 0.1]]])
    np.testing.assert_allclose(NtXentLoss(1.0)(views), np.log((np.e + 2) / np.e), atol=1e-12)
    # All of all images alike: one of the 2 b - 1 others by chance.
    np.testing.assert_allclose(NtXentLoss()(np.ones([4, 2, 3])), np.log(7), atol=1e-12)
    # Images that others hide: opposite views of one image, equal ones of two.
    crossed = np.array([[[1.0, 0.0], [-1.0, 0.0]], [[1.0, 0.0], [-1.0, 0.0]]])
    np.testing.assert_allclose(NtXentLoss(1.0)(crossed), np.log((np.e + 2 / np.e) * np.e), atol=1e-12)


def test_a_single_image_has_nothing_to_be_told_from():
    for views in (VIEWS[:1, :2], np.zeros([1, 2, 3])):
        value, gradient = value_and_gradient(NtXentLoss(), views)
        assert not value.any() and np.abs(gradient).max() < 1e-12
    np.testing.assert_allclose(NtXentLoss()(VIEWS[:1]), naive(VIEWS[:1]), atol=1e-9)


@pytest.mark.parametrize("count", [2, 4])
def test_order_of_views_and_rotation_play_no_part(count):
    views, generator = VIEWS[:, :count], np.random.default_rng(1)
    value = NtXentLoss()(views)
    turned = views @ np.linalg.qr(generator.normal(size=[3, 3]))[0]
    np.testing.assert_allclose(NtXentLoss()(turned), value, atol=1e-12)
    shuffled = np.stack([image[generator.permutation(count)] for image in views])
    np.testing.assert_allclose(NtXentLoss()(shuffled), value, atol=1e-12)


def test_a_descent_draws_views_together_and_images_apart():
    views, loss = tf.Variable(VIEWS[:, :2], dtype=tf.float32), NtXentLoss(0.2)
    for _ in range(12):
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(loss(views, None))
        views.assign_sub(5 * tape.gradient(value, views))
    unit = tf.math.l2_normalize(views, axis=2).numpy()
    cosines = np.einsum("ivd,kwd->ivkw", unit, unit)
    own = np.array([cosines[i, 0, i, 1] for i in range(5)])
    others = np.array([cosines[i, 0, k, 1] for i in range(5) for k in range(5) if i != k])
    assert own.min() > 0.9 and others.max() < 0.6


def test_a_small_temperature_minds_the_nearest_other():
    near, far = (np.array([[[1.0, 0.0]] * 2, [[np.cos(angle), np.sin(angle)]] * 2]) for angle in (0.3, 1.5))
    losses = {t: [float(NtXentLoss(t)(views)[0]) for views in (near, far)] for t in (0.01, 5.0)}
    assert losses[0.01][0] > 1e-2 > 1e-6 > losses[0.01][1]
    assert abs(losses[5.0][0] - losses[5.0][1]) < 0.2


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), float("inf")])
def test_a_temperature_out_of_range_is_refused(temperature):
    with pytest.raises(ValueError, match=f"^`temperature` is {temperature} but must be a finite number above 0; "):
        NtXentLoss(temperature)


@pytest.mark.parametrize("shape", [[5, 4], [5, 1, 4], [5, 2, 4, 3]])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"^`views` has shape \(5, .* but must be \[b, V, D\] with at least 2 views"):
        NtXentLoss()(np.ones(shape))
