import numpy as np
import pytest
import tensorflow as tf

from tfrecords.align import TEMPLATE, align, similarity

RANDOM = np.random.default_rng(0)
CORNERS = np.array(TEMPLATE)


def smooth(height, width, seed=0):
    """A colour image without fine detail, float32 in [0, 1]."""
    y, x = np.mgrid[:height, :width] / 16.0
    phases = np.random.default_rng(seed).random((3, 4)) * 6
    return np.stack([0.5 + 0.25 * np.sin(x + a) * np.cos(y + b) + 0.2 * np.sin(0.5 * (x - y) + c)
                     for a, b, c, _ in phases], axis=-1).astype(np.float32)


def naive(landmarks):
    """Least squares over (a, b, tx, ty) of [a -b; b a] p + t = q, by the normal equations."""
    found = []
    for points in landmarks:
        rows, goals = [], []
        for (x, y), (u, v) in zip(points, CORNERS):
            rows += [[x, -y, 1, 0], [y, x, 0, 1]]
            goals += [u, v]
        a, b, tx, ty = np.linalg.lstsq(np.array(rows), np.array(goals), rcond=None)[0]
        found.append([[a, -b, tx], [b, a, ty]])
    return np.array(found)


def placed(scale, angle, shift, points=CORNERS):
    """The points turned by the angle and scaled, as if photographed so."""
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return points @ turn.T + shift


def test_it_is_the_least_squares_solution():
    landmarks = RANDOM.normal(size=(20, 5, 2)) * 3 + 50 * CORNERS + 20
    np.testing.assert_allclose(similarity(landmarks), naive(landmarks), atol=1e-9)
    assert similarity(landmarks).dtype == tf.float64


def test_a_known_similarity_is_found_exactly():
    landmarks = np.stack([placed(s, a, t) for s, a, t in [(112, 0, 0), (40, 2.5, (100, 7)), (900, -1, (-5, 300))]])
    matrix = similarity(landmarks).numpy()
    brought = landmarks @ matrix[:, :, :2].transpose(0, 2, 1) + matrix[:, None, :, 2]
    np.testing.assert_allclose(brought, np.broadcast_to(CORNERS, brought.shape), atol=1e-12)


def test_there_is_no_reflection_in_mirrored_landmarks():
    mirrored = placed(100, 0.3, 20, CORNERS * [-1, 1])
    matrix = similarity(mirrored[None]).numpy()[0]
    assert np.linalg.det(matrix[:, :2]) > 0
    np.testing.assert_allclose(matrix, naive(mirrored[None])[0], atol=1e-9)


def test_landmarks_at_the_template_change_nothing():
    image = RANDOM.random((1, 40, 40, 5)).astype(np.float32)
    np.testing.assert_allclose(align(image, 40 * CORNERS[None], 40), image, atol=1e-4)


def test_a_turned_and_scaled_face_comes_back_upright():
    upright = smooth(64, 64)
    scale, angle, shift = 1.7, 0.6, np.array([80.0, 30.0])
    # The photograph, pixel by pixel from the upright image by bilinear interpolation, all in float64.
    y, x = np.mgrid[:200, :180] + 0.5
    back = placed(1 / scale, -angle, 0, np.stack([x, y], axis=-1) - shift) - 0.5
    low = np.clip(np.floor(back).astype(int), 0, 62)
    part = np.clip(back - low, 0, 1)[..., None]
    (i, j), (px, py) = np.moveaxis(low, -1, 0), np.moveaxis(part, -2, 0)
    photo = ((upright[j, i] * (1 - px) + upright[j, i + 1] * px) * (1 - py)
             + (upright[j + 1, i] * (1 - px) + upright[j + 1, i + 1] * px) * py)
    landmarks = placed(scale, angle, shift, 64 * CORNERS)
    found = align(photo[None].astype(np.float32), landmarks[None], 64)[0].numpy()
    error = np.mean((found - upright)[4:-4, 4:-4] ** 2)
    assert -10 * np.log10(error) > 40
    wrong = align(photo[None].astype(np.float32), landmarks[None] + 1.0, 64)[0].numpy()
    assert np.mean((wrong - upright)[4:-4, 4:-4] ** 2) > 5 * error, "a shift of one pixel shows"


@pytest.mark.parametrize("shrinks", [2.5, 4, 7.3, 20])
def test_fine_patterns_do_not_alias(shrinks):
    side = int(32 * shrinks)
    stripes = np.tile(np.float32([0, 1]), side)[:side]
    image = np.broadcast_to(stripes[None, None, :, None], (1, side, side, 1))
    inner = align(image, 32 * shrinks * CORNERS[None], 32)[0, 4:-4, 4:-4, 0]
    np.testing.assert_allclose(inner, 0.5, atol=0.02)


def test_halving_keeps_the_place():
    """A ramp is its own mean: any misplaced halving would shift it."""
    side = 301
    ramp = np.broadcast_to(((np.arange(side) + 0.5) / side)[None, None, :, None], (1, side, side, 1)).astype(np.float32)
    found = align(ramp, side * CORNERS[None], 20)[0, 10, 2:-2, 0]
    np.testing.assert_allclose(found, (np.arange(2, 18) + 0.5) / 20, atol=1e-4)


def test_images_do_not_depend_on_each_other():
    images = np.stack([smooth(100, 120, seed) for seed in range(3)])
    landmarks = np.stack([placed(s, a, 10, CORNERS) for s, a in [(20, 0), (90, 0.4), (300, -1)]])
    together = align(images, landmarks, 24).numpy()
    for image, points, found in zip(images, landmarks, together):
        np.testing.assert_array_equal(align(image[None], points[None], 24)[0], found)


def test_degenerate_landmarks_give_numbers():
    same = np.full((5, 2), 20.3)
    upside = 40 * CORNERS[[1, 0, 2, 4, 3]]                  # left and right exchanged
    line = np.stack([np.linspace(0, 30, 5), np.full(5, 9.0)], axis=1)
    images = np.broadcast_to(smooth(40, 40), (3, 40, 40, 3))
    matrix = similarity(np.stack([same, upside, line]))
    assert np.isfinite(matrix).all() and (np.abs(matrix[:, :, :2]) <= 1).all()
    found = align(images, np.stack([same, upside, line]), 16).numpy()
    assert np.isfinite(found).all() and found.min() >= 0 and found.max() <= 1
    # The window about one point: at the closest, its side is one pixel.
    assert np.ptp(found[0], axis=(0, 1)).max() < 0.2


def test_unknown_landmarks_show_the_whole_image():
    image = smooth(30, 50)[None]
    points = np.full((1, 5, 2), np.nan)
    points[0, 2] = 3.0
    found = align(image, points, 50)[0].numpy()
    np.testing.assert_allclose(found[10:40], image[0], atol=1e-4)
    assert not found[:9].any() and not found[41:].any()


def test_masks_keep_their_numbers():
    mask = RANDOM.integers(0, 5, (1, 60, 60, 1)).astype(np.float32)
    found = align(mask, placed(50, 0.5, 8)[None], 20, nearest=True).numpy()
    assert set(np.unique(found)) <= set(range(5))


def test_empty_batch():
    assert align(np.zeros((0, 20, 20, 3), np.float32), np.zeros((0, 5, 2)), 8).shape == (0, 8, 8, 3)


def test_graph_and_saved_model_give_the_same(tmp_path):
    images = np.stack([smooth(50, 60, seed) for seed in range(2)])
    landmarks = np.stack([placed(20, 0.2, 15), placed(150, -0.4, 3)]).astype(np.float32)
    eager = align(images, landmarks, 16)
    module = tf.Module()
    module.call = tf.function(lambda images, landmarks: align(images, landmarks, 16), input_signature=[
        tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([None, 5, 2])])
    np.testing.assert_allclose(module.call(images, landmarks), eager, atol=1e-6)
    tf.saved_model.save(module, str(tmp_path))
    again = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(again.call(images, landmarks), eager, atol=1e-6)


def test_landmarks_a_million_pixels_away_are_unknown():
    image = np.random.default_rng(0).random((1, 20, 30, 1), np.float32)
    far = np.zeros((1, 5, 2), np.float32)
    far[0, 2, 0] = 1e20
    unknown = np.full((1, 5, 2), np.nan, np.float32)
    np.testing.assert_array_equal(align(image, far, 16), align(image, unknown, 16))
