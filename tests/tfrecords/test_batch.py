"""Batches: the same draws on any number of replicas, readers and restarts."""

import io

import numpy as np
import pytest
from PIL import Image

from tfrecords.augment.jitter import JitterAugment
from tfrecords.batch import Batches, Images, Table
from tfrecords.decode import Decoder
from tfrecords.samplers.pk import PkSampler

LABELS = np.repeat(np.arange(6), 4).astype(np.int32)


class Collection:
    """Encoded images by row that count how often they are read."""

    def __init__(self):
        self.reads = 0

    def images(self, rows):
        self.reads += len(rows)
        return [self.encoded(row) for row in rows]

    @staticmethod
    def encoded(row):
        stream = io.BytesIO()
        Image.fromarray(np.full((8, 8), 10 * row, np.uint8)).save(stream, "PNG")
        return stream.getvalue()


def batches(cache_mb=1.0, augment=(), labels=LABELS, **words):
    images = Images(Collection(), Decoder(8, 1), cache_mb)
    return Batches(images, Table(np.arange(24), labels), PkSampler(batch=8, images=2), augment, **words)


def take(dataset, count):
    return list(dataset.take(count).as_numpy_iterator())


def test_ones_own_images_are_not_bounded_together(monkeypatch):
    monkeypatch.setattr(Decoder.images, "__defaults__", (1,))      # most_pixels
    assert len(list(take(batches(cache_mb=0.0).dataset(0), 1))) == 1


@pytest.mark.parametrize("cache_mb", [1.0, 0.0])
def test_image_label_and_index_belong_together(cache_mb):
    for batch in take(batches(cache_mb).dataset(0), 7):
        assert batch["image"].shape == (8, 8, 8, 1)
        np.testing.assert_allclose(batch["image"][:, 0, 0, 0], batch["index"] * 10 / 255, atol=1e-6)
        np.testing.assert_array_equal(batch["label"], LABELS[batch["index"]])


def test_replicas_get_contiguous_slices_of_the_same_draws():
    whole = take(batches().dataset(3), 4)
    parts = take(batches().dataset(3, replicas=2, here=(0, 1)), 8)
    second = take(batches().dataset(3, replicas=2, here=(1,)), 4)
    for i, batch in enumerate(whole):
        both = np.concatenate([parts[2 * i]["index"], parts[2 * i + 1]["index"]])
        np.testing.assert_array_equal(batch["index"], both)
        np.testing.assert_array_equal(second[i]["image"], parts[2 * i + 1]["image"])


def test_a_restart_goes_on_with_the_very_next_batch():
    words = {"augment": (JitterAugment(),), "seed": 5}
    whole = take(batches(**words).dataset(0), 9)
    again = take(batches(**words).dataset(6), 3)
    for one, two in zip(whole[6:], again):
        np.testing.assert_array_equal(one["image"], two["image"])
    other = take(batches(augment=(JitterAugment(),), seed=6).dataset(6), 1)
    assert (other[0]["image"] != again[0]["image"]).any()


def test_neighbouring_seeds_do_not_share_draws():
    """Seed 0 at draw 1 and seed 1 at draw 0 must not augment alike."""
    def shifts(seed):
        found = take(batches(augment=(JitterAugment(brightness=0.2),), seed=seed).dataset(0), 6)
        return np.concatenate([np.sort(batch["image"][:, 0, 0, 0] - batch["index"] * 10 / 255) for batch in found])
    one, two = shifts(0), shifts(1)
    for offset in range(-5, 6):
        a, b = one[max(0, offset) * 8:][:8], two[max(0, -offset) * 8:][:8]
        assert np.abs(a - b).max() > 1e-4


def test_augmentation_differs_between_draws_and_replicas():
    dataset = batches(augment=(JitterAugment(brightness=0.2),)).dataset(0, replicas=2, here=(0, 1))
    shifts = [batch["image"][:, 0, 0, 0] - batch["index"] * 10 / 255 for batch in take(dataset, 4)]
    assert all((abs(a - b) > 1e-4).any() for i, a in enumerate(shifts) for b in shifts[:i])


def test_a_seed_and_draw_beyond_32_bits_work():
    assert take(batches(augment=(JitterAugment(),), seed=2**31 - 1).dataset(2**33), 1)[0]["image"].shape == (8, 8, 8, 1)


def test_memo_comes_by_row():
    memo = {"score": np.arange(24) * 2.0}
    batch = take(batches().dataset(0, memo=memo), 1)[0]
    np.testing.assert_array_equal(batch["memo"]["score"], batch["index"] * 2.0)


def test_cached_images_are_read_once():
    loaded = batches()
    take(loaded.dataset(0), 40)
    assert loaded.images.records.reads == 24


def test_groups_are_never_split():
    message = "`batch` is 8 but must be a multiple of 16 .8 replicas x groups of 2.; use 16"
    with pytest.raises(ValueError, match=message):
        batches().dataset(0, replicas=8)
