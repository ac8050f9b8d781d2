import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfrecords.augment._resample import resample, windows
from tfrecords.augment.crop_resize import CropResizeAugment


def naive(line, start, extent, outside):
    """One line of pixels, one weight after the other."""
    step, out = extent / outside, np.zeros(outside)
    for i in range(outside):
        point, spread = start + (i + 0.5) * step, max(1.0, abs(step))
        weights = [max(0.0, 1 - abs(point - (j + 0.5)) / spread) for j in range(len(line))]
        out[i] = np.dot(weights, line) / sum(weights)
    return out


@pytest.mark.parametrize("start, extent, outside", [(0, 9, 9), (2.3, 4.1, 9), (0.2, 8.7, 3), (7.9, -6.4, 5)])
def test_windows_against_a_loop(start, extent, outside):
    line = np.random.default_rng(0).random(9)
    weights = windows(tf.constant([start], tf.float32), tf.constant([extent], tf.float32), 9, outside)
    np.testing.assert_allclose(weights.numpy()[0] @ line, naive(line, start, extent, outside), atol=1e-5)


@pytest.mark.parametrize("box, size", [((2.5, 1.25, 17.0, 12.5), (8, 6)), ((3.0, 4.0, 7.5, 9.0), (20, 16))])
def test_resampling_against_pillow(box, size):
    image = np.random.default_rng(1).random((14, 19)).astype(np.float32)
    left, top, right, bottom = box
    rows = windows(tf.constant([top]), tf.constant([bottom - top]), 14, size[1])
    columns = windows(tf.constant([left]), tf.constant([right - left]), 19, size[0])
    out = resample(tf.constant(image[None, :, :, None]), rows[:, None], columns[:, None])[0, :, :, 0]
    expected = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, box=box)
    np.testing.assert_allclose(out, np.asarray(expected), atol=2e-5)


# The middle of a result larger than its window is linear in the place, and tells the window.
H, W = 48, 64
RAMPS = np.stack(np.meshgrid((np.arange(W) + 0.5) / W, (np.arange(H) + 0.5) / H) + [np.full((H, W), 0.3)], axis=-1)
NOISE = np.random.default_rng(2).random((H, W))


def found_windows(out):
    """(top, height, left, width) [n] in pixels, read off the ramps in the middle of the result."""
    h, w = out.shape[1] // 2, out.shape[2] // 2
    step_x, step_y = (out[:, h, w, 0] - out[:, h, w - 1, 0]) * W, (out[:, h, w, 1] - out[:, h - 1, w, 1]) * H
    middle_x, middle_y = out[:, h, w, 0] * W - step_x / 2, out[:, h, w, 1] * H - step_y / 2
    height, width = step_y * out.shape[1], step_x * out.shape[2]
    return middle_y - height / 2, height, middle_x - width / 2, width


def test_windows_keep_to_their_ranges_and_to_the_image():
    images = tf.constant(np.tile(RAMPS, (400, 1, 1, 1)), tf.float32)
    out = CropResizeAugment(area=(0.1, 0.6), ratio=(0.5, 1.5), size=80)(images, tf.constant([3, 4])).numpy()
    top, height, left, width = found_windows(out)
    area, aspect = height * width / (H * W), width / height      # the result is square
    assert 0.099 < area.min() < 0.13 and 0.55 < area.max() < 0.601 and abs(area.mean() - 0.33) < 0.04
    assert 0.499 < aspect.min() < 0.53 and 1.3 < aspect.max() < 1.51
    assert abs(np.log(aspect).mean() - np.log(0.75) / 2) < 0.1
    assert min(top.min(), left.min()) > -0.05 and (top + height).max() < H + 0.05 and (left + width).max() < W + 0.05
    assert np.corrcoef(top, left)[0, 1] < 0.3 and np.ptp(top) > H / 4 and np.ptp(left) > W / 4


def test_pixels_against_a_loop_over_images_rows_and_columns():
    images = np.tile(RAMPS, (6, 1, 1, 1))
    images[..., 2] = NOISE
    images = tf.constant(images, tf.float32)
    out, large = (CropResizeAugment(area=(0.1, 0.9), size=size, flip=0.5)(images, tf.constant([8, 1])).numpy()
                  for size in ((12, 40), (60, 200)))
    for picture, top, height, left, width in zip(out, *found_windows(large)):
        lines = np.stack([naive(line, left, width, 40) for line in NOISE])
        expected = np.stack([naive(line, top, height, 12) for line in lines.T], axis=1)
        np.testing.assert_allclose(picture[..., 2], expected, atol=2e-3)     # the window is read off in float32


def test_strength_shrinks_towards_the_image_and_flips_are_mirrors():
    images = tf.constant(np.tile(RAMPS, (200, 1, 1, 1)), tf.float32)
    half = CropResizeAugment(area=(0.2, 0.2), ratio=(1, 1))(images, tf.constant([3, 4]), 0.5).numpy()
    _, height, _, width = found_windows(half)
    np.testing.assert_allclose(height * width / (H * W), 0.6, atol=0.01)
    out = CropResizeAugment(area=(1, 1), ratio=(1, 1), flip=0.5)(images, tf.constant([3, 4])).numpy()
    mirrored = (out == images.numpy()[:, :, ::-1]).all((1, 2, 3))
    assert 70 < mirrored.sum() < 130 and (out[~mirrored] == images.numpy()[~mirrored]).all()


@pytest.mark.parametrize("size, ratio, expected", [
    ((96, 128), (3 / 4, 4 / 3), (48, 64)), (96, (1, 1), (48, 48)), (96, (0.9, 1.25), (48, 60)), (96, (2, 3), (32, 64))])
def test_a_window_that_cannot_fit_is_the_largest_with_an_aspect_in_range(size, ratio, expected):
    images = tf.constant(np.tile(RAMPS, (20, 1, 1, 1)), tf.float32)
    _, height, _, width = found_windows(CropResizeAugment((1, 1), ratio, size)(images, tf.constant([3, 4])).numpy())
    np.testing.assert_allclose([height, width], np.tile(expected, (20, 1)).T, atol=0.05)


def test_views_of_an_image_stand_together():
    images = tf.constant(np.random.default_rng(5).random((3, 1, 1, 3)) * np.ones((3, 10, 10, 3)), tf.float32)
    views = CropResizeAugment(size=4).views(images, tf.constant([1, 1]), 1.0, 5).numpy()
    assert views.shape == (15, 4, 4, 3)
    np.testing.assert_allclose(views[:, 0, 0], np.repeat(images.numpy()[:, 0, 0], 5, axis=0), atol=1e-6)


@pytest.mark.parametrize("words, told", [
    ({"area": (0, 1)}, "0 < smallest"), ({"area": (0.5, 0.2)}, "0 < smallest"), ({"area": (0.5, 1.2)}, "up to 1"),
    ({"ratio": (0, 1)}, "0 < smallest"), ({"size": -1}, "`size` is -1"), ({"size": (4, 0)}, "`size` is"),
    ({"flip": 1.5}, "`flip` is 1.5")])
def test_refusals(words, told):
    with pytest.raises(ValueError, match=told):
        CropResizeAugment(**words)


def test_boxes_lie_inside_and_have_the_area_and_aspect_asked_for():
    heights, widths = (np.random.default_rng(seed).integers(40, 900, 4000).astype(np.int32) for seed in (1, 2))
    boxes = CropResizeAugment(area=(0.2, 0.5), ratio=(0.5, 2.0)).boxes(heights, widths, [1, 2]).numpy()
    y, x, height, width = boxes.T
    assert boxes.dtype == np.int32 and (boxes[:, :2] >= 0).all() and (boxes[:, 2:] >= 1).all()
    assert (y + height <= heights).all() and (x + width <= widths).all()
    share, aspect = height * width / (heights * widths), width / height
    inside = (heights / widths < 2.4) & (widths / heights < 2.4)        # long images are cut
    assert inside.sum() > 1500 and share[inside].min() > 0.18 and share[inside].max() < 0.52
    assert abs(share[inside].mean() - 0.35) < 0.02 and 0.45 < aspect[inside].min() < aspect[inside].max() < 2.1
    whole = CropResizeAugment().boxes(heights, widths, [1, 2], 0.0).numpy()
    np.testing.assert_array_equal(whole, np.stack([0 * heights, 0 * heights, heights, widths], 1))
    np.testing.assert_array_equal(tf.function(CropResizeAugment().boxes)(heights, widths, [3, 4]),
                                  CropResizeAugment().boxes(heights, widths, [3, 4]))


@pytest.mark.parametrize("size, result, aspect", [(0, (256, 128), 0.5), (0, (64, 64), 1), ((50, 100), (64, 64), 2)])
def test_boxes_have_the_aspect_of_the_result(size, result, aspect):
    sides = np.full(200, 600, np.int32)
    boxes = CropResizeAugment((0.1, 0.3), (1, 1), size).boxes(sides, sides, [1, 2], 1.0, result).numpy()
    np.testing.assert_allclose(boxes[:, 3] / boxes[:, 2], aspect, rtol=0.02)
    square = CropResizeAugment((0.1, 0.3)).boxes(sides, sides, [1, 2])
    np.testing.assert_array_equal(CropResizeAugment((0.1, 0.3)).boxes(sides, sides, [1, 2], 1.0, (48, 48)), square)


def test_a_share_of_the_boxes_is_mirrored():
    sides = np.full(2000, 50, np.int32)
    plain, mirrored = (CropResizeAugment(flip=flip).boxes(sides, sides, [1, 2]).numpy() for flip in (0.0, 0.3))
    np.testing.assert_array_equal(plain, np.abs(mirrored))
    assert 0.25 < (mirrored[:, 3] < 0).mean() < 0.35 and (plain > -1).all()
