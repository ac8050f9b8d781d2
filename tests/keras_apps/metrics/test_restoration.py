import math

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.losses.pixel.ssim import SsimLoss
from keras_apps.metrics import restoration
from keras_apps.metrics.restoration import eight_bits, psnr, ssim


def draw(seed=0, count=3, height=16, width=14, channels=3, noise=0.1):
    generator = np.random.default_rng(seed)
    targets = generator.random([count, height, width, channels])
    return np.clip(targets + noise * generator.normal(size=targets.shape), 0, 1), targets


def test_psnr_equals_the_loop():
    images, targets = draw()
    naive = []
    for image, target in zip(images, targets):
        error = sum((x - t) ** 2 for x, t in zip(image.ravel(), target.ravel())) / image.size
        naive.append(10 * math.log10(1 / error))
    assert psnr(images, targets) == pytest.approx(sum(naive) / len(naive), abs=1e-9)
    assert type(psnr(images, targets)) is float


def test_psnr_by_hand():
    black = np.zeros([1, 2, 2, 1])
    assert psnr(black, black + 1) == pytest.approx(0)
    assert psnr(black, black + 0.1) == pytest.approx(20)
    assert psnr(black, black + 1 / 255) == pytest.approx(48.13, abs=0.01)
    # The mean of 20 and 40 dB, not the ratio of the mean error.
    assert psnr(np.zeros([2, 1, 1, 1]), np.array([0.1, 0.01]).reshape(2, 1, 1, 1)) == pytest.approx(30)
    # One pixel of four off by 0.2, over all channels together.
    image = np.zeros([1, 1, 2, 2])
    image[0, 0, 0, 0] = 0.2
    assert psnr(image, np.zeros_like(image)) == pytest.approx(20)


def test_equal_images_have_a_hundred_decibels():
    images, targets = draw()
    assert psnr(targets, targets) == 100
    mixed = np.concatenate([images[:1], targets[:1]]), targets[[0, 0]]
    assert psnr(*mixed) == pytest.approx((psnr(images[:1], targets[:1]) + 100) / 2)
    assert psnr(np.clip(targets, 0, 0.9), np.clip(targets, 0, 0.9) + 1e-7) == 100


@pytest.mark.parametrize("size", [(16, 14), (11, 11), (24, 40)])
@pytest.mark.parametrize("channels", [1, 3])
def test_figures_equal_tensorflows_own(size, channels):
    images, targets = (side.astype(np.float32) for side in draw(1, 3, *size, channels))
    assert ssim(images, targets) == pytest.approx(np.mean(tf.image.ssim(images, targets, 1.0)), abs=1e-5)
    assert psnr(images, targets) == pytest.approx(np.mean(tf.image.psnr(images, targets, 1.0)), abs=1e-4)


@pytest.mark.parametrize("size", [(16, 14), (10, 30), (4, 4), (2, 9), (1, 1)])
def test_ssim_is_one_minus_the_loss(size):
    images, targets = draw(2, 3, *size)
    value = ssim(images, targets)
    assert value == pytest.approx(1 - np.mean(SsimLoss()(images, targets)), abs=1e-9) and type(value) is float


def test_ssim_by_hand():
    flat = np.full([1, 12, 12, 1], 0.5)
    assert ssim(flat, flat) == pytest.approx(1) and ssim(flat, 2 * flat) == pytest.approx(1.0001 / 1.2501)
    board = np.indices([12, 12]).sum(0)[None, :, :, None] % 2 * 1.0
    assert ssim(board, board) == pytest.approx(1) and ssim(board, 1 - board) < -0.99
    assert abs(ssim(board, flat)) < 0.01


@pytest.mark.parametrize("figure", [psnr, ssim])
def test_order_and_flips_play_no_part_and_nearer_is_larger(figure):
    images, targets = draw(3)
    value = figure(images, targets)
    assert figure(targets, images) == pytest.approx(value, abs=1e-9)
    assert figure(images[::-1], targets[::-1]) == pytest.approx(value, abs=1e-9)
    assert figure(images[:, ::-1, ::-1], targets[:, ::-1, ::-1]) == pytest.approx(value, abs=1e-9)
    assert figure(images, targets) == pytest.approx(np.mean([figure(images[i:i + 1], targets[i:i + 1])
                                                             for i in range(3)]), abs=1e-9)
    values = [figure(*draw(3, noise=noise)) for noise in (0.3, 0.1, 0.03, 0.01, 0)]
    assert values == sorted(values) and values[0] < values[1] < values[-1]


@pytest.mark.parametrize("block", [1, 1000, 1500])
def test_images_are_read_in_blocks(block, monkeypatch):
    images, targets = draw(4, 5)
    whole = psnr(images, targets), ssim(images, targets)
    monkeypatch.setattr(restoration, "_BLOCK", block)
    assert (psnr(images, targets), ssim(images, targets)) == pytest.approx(whole, abs=1e-12)


def test_arguments_of_any_float_stay_as_they_are():
    images, targets = (side.astype(np.float32) for side in draw(5))
    before = images.copy(), targets.copy()
    wide = psnr(images.astype(float), targets.astype(float)), ssim(images.astype(float), targets.astype(float))
    assert (psnr(images, targets), ssim(images, targets)) == pytest.approx(wide, abs=1e-12)
    assert 5 < psnr(images.astype(np.float16), targets) < 60
    eight_bits(images)
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(targets, before[1])


def test_eight_bits_by_hand():
    found = eight_bits(np.array([-0.2, 0, 0.4 / 255, 0.6 / 255, 0.5, 254.4 / 255, 1, 1.7]))
    np.testing.assert_allclose(found * 255, [0, 0, 0, 1, 128, 254, 255, 255], atol=1e-12)
    assert found.dtype == np.float64


def test_eight_bits_are_what_a_file_gives_back():
    levels = np.arange(256, dtype=np.uint8)
    as_read = levels.astype(np.float32) / 255
    for dtype, wanted in ((np.float32, np.float32), (np.float16, np.float32), (np.float64, np.float64)):
        found = eight_bits(as_read.astype(dtype))
        assert found.dtype == wanted
        np.testing.assert_array_equal(np.rint(found * 255), levels)
        np.testing.assert_array_equal(eight_bits(found), found)
    np.testing.assert_array_equal(eight_bits(as_read), as_read)
    image = np.random.default_rng(6).random([2, 3, 4, 1], np.float32)
    assert np.abs(eight_bits(image) - image).max() <= 0.5 / 255 + 1e-7 and eight_bits(image).shape == image.shape


IMAGES, TARGETS = draw(7)


def broken(value):
    return np.where(np.arange(3)[:, None, None, None] == 2, value, IMAGES)


@pytest.mark.parametrize("figure", [psnr, ssim])
@pytest.mark.parametrize("images, targets, told", [
    (IMAGES, TARGETS[:2], r"`images` has shape \(3, 16, 14, 3\) and `targets` \(2, 16, 14, 3\)"),
    (IMAGES, TARGETS[..., :1], r"`targets` \(3, 16, 14, 1\)"),
    (IMAGES[0], TARGETS[0], r"`images` has shape \(16, 14, 3\)"),
    (IMAGES[:0], TARGETS[:0], "add images"), (IMAGES[:, :0], TARGETS[:, :0], "of at least one pixel"),
    (broken(np.nan), TARGETS, "`images` row 2 has values from nan to nan"),
    (IMAGES, broken(np.inf), "`targets` row 2 has values from inf to inf"),
    (broken(1.01), TARGETS, r"`images` row 2 has values from 1.01 to 1.01 but they must lie in \[0, 1\]"),
    (broken(-0.5), TARGETS, "`images` row 2 has values from -0.5"),
    ((255 * IMAGES).astype(np.uint8), TARGETS, "`images` is uint8 but must be floats"),
    (IMAGES, TARGETS > 0.5, "`targets` is bool but must be floats"),
])
def test_wrong_images_are_refused(figure, images, targets, told):
    with pytest.raises(ValueError, match=told):
        figure(images, targets)


@pytest.mark.parametrize("images, told", [(broken(np.nan), "not finite"), (broken(np.inf), "not finite"),
                                          (np.uint8([3]), "`images` is uint8")])
def test_eight_bits_of_what_is_no_number_are_refused(images, told):
    with pytest.raises(ValueError, match=told):
        eight_bits(images)
