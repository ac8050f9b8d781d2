"""Batches: the same draws on any number of replicas, readers and restarts."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfrecords.augment.jitter import JitterAugment
from tfrecords.batch import Batches, Images, Table
from tfrecords.decode import Decoder
from tfrecords.read import DamagedError
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
    monkeypatch.setattr(Decoder.images, "__defaults__", (1, None))      # most_pixels
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


# ---- damaged records


class Damaged(Collection):
    """A collection some of whose records cannot be read."""

    def __init__(self, *rows):
        super().__init__()
        self.bad = rows

    def images(self, rows):
        for row in np.asarray(rows).tolist():
            if row in self.bad:
                raise DamagedError(row, f"shard s, record {row} is damaged")
        return super().images(rows)

    serialized = images


def damaged_batches(rows, cache_mb=0.0, most_damaged=3, **words):
    images = Images(Damaged(*rows), Decoder(8, 1), cache_mb, most_damaged)
    return Batches(images, Table(np.arange(24), LABELS), PkSampler(batch=8, images=2), **words)


@pytest.mark.parametrize("cache_mb", [1.0, 0.0])
def test_a_group_with_a_damaged_record_is_replaced_by_the_next_sound_one(cache_mb, capsys):
    whole, loaded = batches(cache_mb), damaged_batches([5, 6, 23], cache_mb)
    replaced = 0
    for one, two in zip(take(whole.dataset(0), 20), take(loaded.dataset(0), 20)):
        groups, found = one["index"].reshape(-1, 2), two["index"].reshape(-1, 2)
        bad = np.isin(groups, [5, 6, 23]).any(axis=1)
        replaced += bad.sum()
        np.testing.assert_array_equal(found[~bad], groups[~bad])
        assert not np.isin(found, [5, 6, 23]).any() and (LABELS[found[:, 0]] == LABELS[found[:, 1]]).all()
        np.testing.assert_array_equal(two["label"], LABELS[two["index"]])
        np.testing.assert_allclose(two["image"][:, 0, 0, 0], two["index"] * 10 / 255, atol=1e-6)
    assert replaced and sorted(loaded.images.damaged) == [5, 6, 23]
    told = capsys.readouterr().err
    assert told.count("record 5 is damaged") == 1 and "It is skipped, as 3 of at most 3." in told


def test_replicas_replace_alike():
    whole = take(damaged_batches([5, 6, 23]).dataset(0), 6)
    parts = take(damaged_batches([5, 6, 23]).dataset(0, replicas=2, here=(0, 1)), 12)
    for i, batch in enumerate(whole):
        both = np.concatenate([parts[2 * i]["index"], parts[2 * i + 1]["index"]])
        np.testing.assert_array_equal(batch["index"], both)


def test_replacement_does_not_depend_on_where_reading_starts():
    whole = take(damaged_batches([5, 6, 23]).dataset(0), 9)
    again = take(damaged_batches([5, 6, 23]).dataset(6), 3)
    for one, two in zip(whole[6:], again):
        np.testing.assert_array_equal(one["index"], two["index"])
        np.testing.assert_array_equal(one["image"], two["image"])


def test_more_damage_than_allowed_names_shard_and_record():
    with pytest.raises(Exception, match="shard s, record (5|6|7) is damaged; write the data again"):
        take(damaged_batches([5, 6, 7], most_damaged=2).dataset(0), 20)


def test_an_epoch_of_which_nothing_is_left_is_an_error():
    with pytest.raises(Exception, match="Every group of 2 of the sampler has such a record"):
        take(damaged_batches(range(24), most_damaged=24).dataset(0), 20)


def test_sound_rows_are_those_that_can_be_read():
    images = Images(Damaged(2, 9), Decoder(8, 1), most_damaged=2)
    assert images.sound(range(12)).tolist() == [0, 1, 3, 4, 5, 6, 7, 8, 10, 11]
    with pytest.raises(DamagedError, match="record 9"):
        Images(Damaged(2, 9), Decoder(8, 1), most_damaged=1).sound(range(12))


@pytest.mark.parametrize("cache_mb", [1.0, 0.0])
def test_sound_rows_are_loaded_in_one_pass(cache_mb, capsys):
    records = Damaged(2, 9)
    images = Images(records, Decoder(8, 1), cache_mb, most_damaged=2)
    rows, found = images.load_sound([11, 9, 0, 2, 0, 3])
    assert rows.tolist() == [11, 0, 0, 3] and sorted(images.damaged) == [2, 9]
    np.testing.assert_allclose(found[:, 0, 0, 0], rows * 10 / 255, atol=1e-6)
    assert records.reads == 3 and capsys.readouterr().err.count("It is skipped") == 2
    assert images.load_sound([2, 9])[1].shape == (0, 8, 8, 1)
    images.load_sound([11, 0])
    assert records.reads == (3 if cache_mb else 5)
    with pytest.raises(DamagedError, match="record 9"):
        Images(Damaged(2, 9), Decoder(8, 1), cache_mb, most_damaged=1).load_sound(range(12))


def test_an_epoch_is_searched_for_damage_once_until_more_is_found(monkeypatch):
    images, searches, find = Images(Damaged(5, 23), Decoder(8, 1), most_damaged=2), [], np.flatnonzero
    loaded = Batches(images, Table(np.arange(24), LABELS), PkSampler(batch=4, images=2))
    monkeypatch.setattr("tfrecords.batch.np.flatnonzero", lambda values: searches.append(1) or find(values))

    def searched(draws):
        loaded.rows(draws[0])           # the sampler's own searches are not counted
        searches.clear()
        found = [loaded._without_damage(draw, slice(None)) for draw in draws]
        assert not np.isin(found, list(images.damaged)).any()
        return len(searches)
    for row in (5, 23):
        images.skip(DamagedError(row, "damaged"))
        assert searched([0, 1, 2]) == 1
    assert searched([2, 1, 0]) == 0
    assert searched([3, 4]) == 1        # the next epoch


# ---- crops from the stored pixels, views


class Sized(Collection):
    """Images of 8 x 8 whose rows of pixels are 0, 10, ... 70."""

    @staticmethod
    def encoded(row):
        stream = io.BytesIO()
        Image.fromarray(np.repeat(np.arange(0, 80, 10, dtype=np.uint8)[:, None], 8, 1)).save(stream, "PNG")
        return stream.getvalue()

    def column(self, name):
        return np.full(24, {"height": 8, "width": 8}[name])


class HalfCrop:
    """The upper or the lower half."""

    def boxes(self, heights, widths, seed, strength, result):
        draw = tf.random.stateless_uniform(tf.shape(heights), seed, 0, 2, tf.int32)
        return tf.stack([draw * heights // 2, tf.zeros_like(heights), heights // 2, widths], axis=1)


def cropped(**words):
    images = Images(Sized(), Decoder((4, 8), 1))
    return Batches(images, Table(np.arange(24), LABELS), PkSampler(batch=8, images=2), crop=HalfCrop(), **words)


def test_a_crop_comes_from_the_stored_pixels_and_restarts_alike():
    whole = take(cropped().dataset(0), 4)
    values = np.rint(255 * np.concatenate([batch["image"][:, :, 0, 0] for batch in whole])).astype(int)
    assert {tuple(row) for row in values} == {(0, 10, 20, 30), (40, 50, 60, 70)}
    np.testing.assert_array_equal(take(cropped().dataset(2), 1)[0]["image"], whole[2]["image"])
    assert (take(cropped(seed=1).dataset(0), 1)[0]["image"] != whole[0]["image"]).any()


def test_views_are_of_the_augmented_images():
    def views(images, seed, strength):
        return tf.stack([images, 1.0 - images], axis=1), images[:, None, :4, :4]
    batch = take(batches(views=views, augment=(JitterAugment(),)).dataset(0), 1)[0]
    assert [view.shape for view in batch["views"]] == [(8, 2, 8, 8, 1), (8, 1, 4, 4, 1)]
    np.testing.assert_array_equal(batch["views"][0][:, 0], batch["image"])


# ---- blocks, sizes

@pytest.mark.parametrize("size, count, blocks", [
    (8, 9000, [8192, 808]),             # 256 bytes an image: 32 MB would be 131,072 of them
    (128, 1100, [512, 512, 76]),        # 64 kB: 512 are 32 MB
    (512, 300, [256, 44]),              # 1 MB: to begin a pipeline costs as much as hundreds of small images
])
def test_much_is_decoded_in_blocks_of_32_mb_of_256_to_8192_images(size, count, blocks):
    images, found = Images(Collection(), Decoder(size, 1), cache_mb=1e9), []
    images._decode = lambda rows: found.append(len(rows)) or dict.fromkeys(rows, 0)
    fresh = images._fresh(np.arange(count), None, images._decode)
    assert found == blocks and sorted(fresh) == list(range(count))
    assert images._fresh(np.arange(count), None, images._decode) is fresh and found == blocks, "kept in memory"


def test_blocks_are_read_in_order_and_rows_come_as_often_as_they_are_asked_for(monkeypatch):
    monkeypatch.setattr("tfrecords.batch.BLOCK_BYTES", 0)
    images = Images(Collection(), Decoder(8, 1), cache_mb=0.0)
    rows = np.random.default_rng(0).integers(0, 24, 700)
    found = images.load(rows)
    np.testing.assert_allclose(found[:, 0, 0, 0], rows * 10 / 255, atol=1e-6)
    assert images.records.reads == 24, "each is decoded once"


@pytest.mark.parametrize("low, high, size, unresized", [
    ([8, 8], [8, 8], 8, True), ([8, 6], [8, 6], (8, 6), True), ([8, 8], [8, 8], 9, False),
    ([8, 8], [8, 9], 8, False), ([7, 8], [8, 8], 8, False), ([8, 6], [8, 6], (6, 8), False)])
def test_images_are_unresized_where_all_are_stored_in_the_size(low, high, size, unresized):
    records = Collection()
    records.manifest = {"sizes": {"minimum": low, "median": low, "maximum": high}}
    assert Images(records, Decoder(size, 1)).unresized is unresized


@pytest.mark.parametrize("channels, stored, unmixed", [
    (1, [1, 1, 1], True), (1, [1, 2, 1], True), (3, [3, 4, 3], True), (3, [3, 1, 3], False), (3, [4, 2, 3], False)])
def test_images_are_unmixed_where_all_have_the_channels_alpha_apart(channels, stored, unmixed):
    records = Collection()
    records.column = {"channels": np.array(stored)}.get
    assert Images(records, Decoder(8, channels)).unmixed is unmixed
    assert Images(records, Decoder(8, 7, dtype="float32", raw=True)).unmixed, "of numbers there is one kind only"
