"""Facts that should not tell real from fake, and the thumbnail that a detector must beat."""

import io

import numpy as np
import pytest
from PIL import Image

from keras_apps import shortcuts
from tests.keras_apps.fakes import checkered, reals

FACTS = {"file size", "height and width", "mean colour", "spectrum", "thumbnail"}


def encoded(images, kind="PNG", **words):
    found = []
    for image in images:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, kind, **words)
        found.append(stream.getvalue())
    return found


def probed(images, fake, data=None, sizes=None):
    sizes = np.full((len(images), 2), 16) if sizes is None else sizes
    return shortcuts.probe((images[..., None] / 255).astype(np.float32), fake, data or encoded(images), sizes)


@pytest.fixture(scope="module")
def images():
    return reals(160)


def half(count):
    return np.arange(count) % 2 == 1


def test_images_of_one_kind_are_told_apart_by_nothing(images):
    found = probed(images, half(160))
    assert set(found) == FACTS
    for name, score in found.items():
        assert score.chance == 0.5 and not score.strong and score.accuracy == pytest.approx(0.5, abs=0.15), name


@pytest.mark.parametrize("change, told", [
    (lambda images: np.clip(images.astype(int) + 90, 0, 255).astype(np.uint8), "mean colour"),
    (checkered, "spectrum"), (lambda images: np.where(np.arange(16) < 4, 255, images).astype(np.uint8), "thumbnail")])
def test_each_fact_tells_what_it_sees(change, told, images):
    fake = half(160)
    found = probed(np.where(fake[:, None, None], change(images), images), fake)
    assert found[told].accuracy > 0.95
    if told == "spectrum":
        assert found["spectrum"].strong and found["mean colour"].accuracy < 0.7, "a checkerboard has no colour"


def test_another_stored_size_shows(images):
    fake = half(160)
    found = probed(images, fake, sizes=np.where(fake[:, None], [[256, 256]], [[800, 1000]]))
    assert found["height and width"].accuracy == 1.0 and found["thumbnail"].accuracy < 0.7


def test_another_codec_shows_in_the_size_of_the_files(images):
    fake = half(160)
    data = [one if kind else two for kind, one, two in zip(fake, encoded(images, "JPEG", quality=50), encoded(images))]
    found = probed(images, fake, data)
    assert found["file size"].accuracy > 0.95 and found["file size"].strong
    assert shortcuts.codecs(np.array(data, object)[fake]) == ["JPEG"]
    assert shortcuts.codecs(data) == ["JPEG", "PNG"] and shortcuts.codecs(encoded(images[:2], "BMP")) == ["BMP"]


@pytest.mark.parametrize("fakes", [0, 1])
def test_too_few_images_to_hold_any_back_give_no_figures(fakes, images):
    assert probed(images[:5], np.arange(5) < fakes) == {}


def test_a_thumbnail_is_the_mean_of_what_lies_below_each_of_its_pixels():
    images = np.random.default_rng(0).random((3, 16, 24, 2)).astype(np.float32)
    found = shortcuts.thumbnails(images)
    assert found.shape == (3, 8 * 8 * 2)
    flat = np.full((2, 16, 24, 2), 0.25, np.float32)
    np.testing.assert_allclose(shortcuts.thumbnails(flat), 0.25, atol=1e-6)
    board = (np.indices((16, 16)).sum(axis=0) % 2)[None, :, :, None].astype(np.float32)
    assert shortcuts.thumbnails(board).std() < 0.05, "what is finer is not seen"
    small = np.random.default_rng(0).random((2, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(shortcuts.thumbnails(small), small.reshape(2, 64), atol=1e-6)


def test_the_floor_tells_what_a_thumbnail_shows_and_its_scores_stand_about_0():
    random = np.random.default_rng(0)
    images = random.random((120, 16, 16, 1)).astype(np.float32)
    fake = np.arange(120) % 3 == 0          # a third: classes are balanced
    images[fake, :8] += 0.2
    floor = shortcuts.Thumbnail(images[:80], fake[:80])
    scores = floor(images[80:])
    assert scores.shape == (40,) and ((scores > 0) == fake[80:]).mean() > 0.95
    np.testing.assert_array_equal(shortcuts.Thumbnail(images[:80], fake[:80])(images[80:]), scores)
