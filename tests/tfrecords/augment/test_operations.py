"""The operations of RandAugment and CTAugment against Pillow, on 8-bit images."""

import math

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage

from tfrecords.augment import _operations as operations

H, W = 21, 26


def pictures():
    """8-bit colour images: smooth, noisy, dark with few levels, bright, of one level."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:H, :W]
    smooth = np.stack([128 + 100 * np.sin(x / 7 + k) * np.cos(y / 5) for k in range(3)], axis=-1)
    noise = generator.integers(0, 256, (H, W, 3))
    dark, bright = generator.integers(3, 40, (H, W, 3)), generator.integers(180, 256, (H, W, 3))
    return np.stack([smooth, noise, dark, bright, np.full((H, W, 3), 77)]).astype(np.uint8)


PICTURES = pictures()


def ours(name, level):
    images = tf.constant(PICTURES, tf.float32) / 255.0
    out = getattr(operations, name)(images, tf.fill([len(PICTURES)], level), "zero").numpy()
    assert out.shape == PICTURES.shape and out.min() >= 0 and out.max() <= 1
    return out * 255.0


def enhanced(kind):
    return lambda image, level: kind(image).enhance(1 + 0.9 * level)


PILLOW = {
    "identity": lambda image, level: image,
    "autocontrast": lambda image, level: ImageOps.autocontrast(image),
    "equalise": lambda image, level: ImageOps.equalize(image),
    "posterise": lambda image, level: ImageOps.posterize(image, 8 - round(4 * level)),
    "solarise": lambda image, level: ImageOps.solarize(image, 255 * (1 - level)),
    "colour": enhanced(ImageEnhance.Color),
    "contrast": enhanced(ImageEnhance.Contrast),
    "brightness": enhanced(ImageEnhance.Brightness),
    "sharpness": enhanced(ImageEnhance.Sharpness),
}
# In 8-bit levels. Pillow cuts to whole levels at each step, once for the grey (times 0.9) and once for the result.
TOLERANCE = {"autocontrast": 1, "colour": 2, "contrast": 2, "brightness": 1, "sharpness": 2}


@pytest.mark.parametrize("name, level", [
    (name, level) for name in PILLOW for level in (0.0, 0.3, 0.8, 1.0, -0.4, -1.0)
    if level >= 0 or getattr(operations, name) not in operations.UNSIGNED])
def test_colours_against_pillow(name, level):
    for out, picture in zip(ours(name, level), PICTURES):
        expected = np.asarray(PILLOW[name](Image.fromarray(picture), level), np.float32)
        np.testing.assert_allclose(out, expected, atol=TOLERANCE.get(name, 0) + 1e-3)


def inverse_map(name, level):
    """The matrix and shift that take (x, y) about the centre of the result to the input."""
    angle = math.radians(30) * level
    return {"rotate": ([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], [0, 0]),
            "shear_x": ([[1, 0.3 * level], [0, 1]], [0, 0]), "shear_y": ([[1, 0], [0.3 * level, 1]], [0, 0]),
            "translate_x": (np.eye(2), [W * 150 / 331 * level, 0]),
            "translate_y": (np.eye(2), [0, H * 150 / 331 * level])}[name]


@pytest.mark.parametrize("level", [0.0, 0.37, 1.0, -0.6])
@pytest.mark.parametrize("name", ["rotate", "shear_x", "shear_y", "translate_x", "translate_y"])
def test_warps_against_pillow_and_scipy(name, level):
    matrix, shift = inverse_map(name, level)
    grid = np.stack(np.meshgrid(np.arange(W), np.arange(H)), axis=-1)
    centre = np.array([(W - 1) / 2, (H - 1) / 2])
    places = (grid - centre) @ np.transpose(matrix) + centre + shift
    inside = ((places >= 0) & (places <= [W - 1, H - 1])).all(-1)
    for out, picture in zip(ours(name, level), PICTURES):
        for channel in range(3):
            plane = picture[..., channel].astype(np.float32)
            expected = ndimage.map_coordinates(plane, [places[..., 1], places[..., 0]], order=1, mode="constant")
            np.testing.assert_allclose(out[..., channel][inside], expected[inside], atol=0.02)
            # Pillow's places are those of corners: its own centre lies half a pixel further.
            offset = centre + 0.5 + shift - np.dot(matrix, centre + 0.5)
            data = (*matrix[0], offset[0], *matrix[1], offset[1])
            turned = Image.fromarray(plane).transform((W, H), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
            np.testing.assert_allclose(out[..., channel][inside], np.asarray(turned)[inside], atol=0.1)
    outside = ((places < -1) | (places > [W, H])).any(-1)
    assert (ours(name, level)[:, outside] == 0).all()


def test_level_zero_of_signed_operations_is_no_change():
    for operation, signed in zip(operations.OPERATIONS, operations.SIGNED):
        if signed:
            np.testing.assert_array_equal(ours(operation.__name__, 0.0) / 255, np.float32(PICTURES) / np.float32(255))


@pytest.mark.parametrize("channels", [1, 5])
def test_other_channels(channels):
    images = tf.random.stateless_uniform([4, 9, 8, channels], [0, 1])
    for operation in operations.OPERATIONS:
        out = operation(images, tf.fill([4], 0.5), "reflect").numpy()
        assert out.shape == images.shape and np.isfinite(out).all()
        if operation in (operations.identity, operations.colour):
            np.testing.assert_array_equal(out, images)
        else:
            assert (out != images.numpy()).any()


def test_images_are_dealt_to_their_operations_and_put_back():
    images = tf.random.stateless_uniform([60, 9, 8, 3], [0, 1])
    choice, level = np.random.default_rng(0).integers(0, 14, 60), np.random.default_rng(1).random(60).astype(np.float32)
    out = operations.applied(images, tf.constant(choice, tf.int32), tf.constant(level), "nearest").numpy()
    for i in range(60):
        alone = operations.OPERATIONS[choice[i]](images[i:i + 1], tf.constant(level[i:i + 1]), "nearest")
        np.testing.assert_allclose(out[i], alone[0], atol=1e-6)
