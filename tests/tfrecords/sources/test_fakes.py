"""Real images beside pools of fakes: what is written cannot be told apart by codec, size or number."""

import pickle
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.tfrecords.drawn import Drawn
from tests.tfrecords.sources.contract import check, facts
from tfrecords.decode import Decoder
from tfrecords.read import Records
from tfrecords.sources import fakes
from tfrecords.sources.fakes import FakesSource
from tfrecords.sources.folder import FolderSource
from tfrecords.sources.synthetic import SyntheticSource
from tfrecords.write import named_source, write

PNG = b"\x89PNG\r\n\x1a\n"


def noise(count, size=12, channels=1, seed=0, dtype=np.uint8):
    high = 256 if dtype == np.uint8 else 60_000
    return np.random.default_rng(seed).integers(0, high, (count, size, size, channels)).astype(dtype)


def pool(folder, name, count=20, size=12, channels=1, seed=None, images=None, facts=(), dtype=np.uint8, sources=()):
    """A pool of one source; `facts` of what `keras_apps.sample` says of its generator."""
    images = noise(count, size, channels, zlib.crc32(name.encode()) if seed is None else seed,
                   dtype) if images is None else images
    columns = [{"source": sources[place % len(sources)] if sources else name} for place in range(len(images))]
    told = {"source": "generator", "size": [size, size], "fit": "stretch", **dict(facts)} if facts else {}
    write([Drawn(images, columns, **told)], folder / "pools" / name, shards=2)
    return str(folder / "pools" / name)


def of_generator(reals, weights, **words):
    return {"weights_sha256": weights, "trained_on": "reals", "trained_on_sha256": Records(reals).manifest[
        "data_sha256"], **words}


@pytest.fixture
def reals(tmp_path):
    """60 images of 12 x 12, 20 of them of the split test."""
    columns = [{"split": "test" if place % 3 == 2 else "train", "label": place % 5} for place in range(60)]
    write([Drawn(noise(60, seed=99), columns)], tmp_path / "reals", shards=3)
    return str(tmp_path / "reals")


def written(reals, pools, folder, **words):
    write([FakesSource(reals, pools, **words)], folder / "out", shards=3)
    return Records(folder / "out")


def told(records):
    """{(label, source, split): images}"""
    found = {}
    for row in range(len(records)):
        key = tuple(records.values(name, [row])[0] for name in ("label", "source", "split"))
        found[key] = found.get(key, 0) + 1
    return found


def test_each_split_has_as_many_real_images_as_fakes_of_all_pools_together(reals, tmp_path):
    records = written(reals, (pool(tmp_path, "one"), pool(tmp_path, "two", count=8)), tmp_path)
    # A quarter of each pool for the test, 15 % before that for validation.
    assert told(records) == {
        ("fake", "one", "train"): 12, ("fake", "one", "val"): 3, ("fake", "one", "test"): 5,
        ("fake", "two", "train"): 5, ("fake", "two", "val"): 1, ("fake", "two", "test"): 2,
        ("real", "real", "train"): 17, ("real", "real", "val"): 4, ("real", "real", "test"): 7}
    entry, = records.manifest["created_from"]
    assert entry["source"] == "fakes" and entry["families"] == ["one", "two"] and entry["size"] == [12, 12]
    assert entry["reals"] == "reals" and entry["reals_sha256"] == Records(reals).manifest["data_sha256"]
    assert not records.synthetic


def test_the_last_images_of_a_pool_are_for_the_test_those_before_for_validation(reals, tmp_path):
    place = pool(tmp_path, "one")
    source = FakesSource(reals, (place,), test=0.3, validation=0.2)
    found = [item for item in source if item.columns["label"] == "fake"]
    assert [item.columns["split"] for item in found] == ["train"] * 10 + ["val"] * 4 + ["test"] * 6
    assert [item.path for item in found] == [f"one/{row:07d}.png" for row in range(20)]


def test_real_test_images_are_those_of_the_split_test_where_there_is_one(reals, tmp_path):
    source = FakesSource(reals, (pool(tmp_path, "one", count=40),))
    split = np.array(Records(reals).values("split", range(60)))
    rows = {name: [int(item.path[5:-4]) for item in source if item.columns["label"] == "real"
                   and item.columns["split"] == name] for name in ("train", "val", "test")}
    assert {name: len(found) for name, found in rows.items()} == {"train": 24, "val": 6, "test": 10}
    assert set(split[rows["test"]]) == {"test"} and set(split[rows["train"] + rows["val"]]) == {"train"}
    assert len({*rows["train"], *rows["val"], *rows["test"]}) == 40, "none twice"


def test_without_a_split_a_quarter_of_the_real_images_is_for_the_test(tmp_path):
    write([Drawn(noise(40, seed=3))], tmp_path / "reals")
    records = written(tmp_path / "reals", (pool(tmp_path, "one", count=80),), tmp_path)
    counts = {split: count for (label, _, split), count in told(records).items() if label == "real"}
    assert counts == {"test": 10, "val": 7, "train": 23}, "all of them, where there are fewer than fakes"


def test_tracks_and_cases_of_real_images_stay_and_lie_on_one_side(tmp_path):
    columns = [{"track": f"film{place // 4}", "case": f"case{place // 8}"} for place in range(96)]
    write([Drawn(noise(96, seed=3), columns)], tmp_path / "reals")
    records = written(tmp_path / "reals", (pool(tmp_path, "one", count=60),), tmp_path)
    real = records.column("label") == records.names("label").index("real")
    tracks, splits = np.array(records.values("track", range(len(records)))), records.column("split")
    assert set(tracks[~real]) == {""} and all(tracks[real])
    first = np.flatnonzero(real)
    own = [int(path[5:-4]) // 4 for path in records.paths(first)]
    assert tracks[first].tolist() == [f"film{number}" for number in own]
    for name in np.unique(tracks[real]):
        assert len(set(splits[tracks == name])) == 1, f"{name} would be seen in training"
    counts = {split: count for (label, _, split), count in told(records).items() if label == "real"}
    assert counts == {"test": 15, "val": 9, "train": 36}


def test_jpegs_on_one_side_are_refused_where_the_generator_is_not_known(tmp_path):
    jpegs = tmp_path / "jpegs"
    jpegs.mkdir()
    for place, image in enumerate(noise(30, 12, 1, 8)):
        Image.fromarray(image[..., 0]).save(jpegs / f"{place}.jpg", quality=90)
    write([FolderSource(str(jpegs))], tmp_path / "photos")
    refused("are stored as JPEG on one side only: its traces would tell real and fake apart", str(tmp_path / "photos"),
            (pool(tmp_path, "one", count=24),))


def test_both_kinds_are_of_one_codec_one_framing_and_one_number_of_channels(reals, tmp_path):
    """What would give fakes away without a look at their pixels, read from the records that were written."""
    jpegs = tmp_path / "jpegs"
    jpegs.mkdir()
    for place, image in enumerate(noise(30, 12, 1, 8)):
        Image.fromarray(image[..., 0]).save(jpegs / f"{place}.jpg", quality=90)
    write([FolderSource(str(jpegs))], tmp_path / "photos")      # real images that are stored as JPEG
    told = of_generator(tmp_path / "photos", "aa")
    records = written(tmp_path / "photos", (pool(tmp_path, "one", count=24, facts=told),), tmp_path)
    rows = np.arange(len(records))
    fake = records.column("label") == records.names("label").index("fake")
    assert fake.any() and not fake.all()
    assert all(data.startswith(PNG) for data in records.images(rows)), "one codec"
    for side, wanted in (("height", 12), ("width", 12), ("channels", 1)):
        assert set(records.column(side)[fake]) == set(records.column(side)[~fake]) == {wanted}, side
    headers = {data[:33] for data in records.images(rows)}     # magic and IHDR: depth, colour type, interlace
    assert len(headers) == 1
    chunks = {tuple(kinds_of(data)) for data in records.images(rows)}
    assert len(chunks) == 1, "no chunk that one kind has and the other has not"
    assert set(records.manifest["columns"]) == {"label", "source", "split"}


def kinds_of(png):
    """The kinds of a PNG's chunks."""
    place = 8
    while place < len(png):
        yield png[place + 4:place + 8]
        place += 12 + int.from_bytes(png[place:place + 4], "big")


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_of_8_bits_and_of_the_size_are_those_that_were_there(channels, tmp_path):
    images = noise(40, 12, channels, 5)
    images[0] = np.arange(256, dtype=np.uint8)[:144].reshape(12, 12, 1)
    images[1] = np.arange(256, dtype=np.uint8)[-144:].reshape(12, 12, 1)
    write([Drawn(images)], tmp_path / "reals")
    made = noise(16, 12, channels, 6)
    source = FakesSource(str(tmp_path / "reals"), (pool(tmp_path, "one", channels=channels, images=made),))
    seen = set()
    for item in source:
        row, image = int(item.path[5 if item.path.startswith("real") else 4:-4]), item.read()
        assert image.dtype == np.uint8 and image.shape == (12, 12, channels)
        np.testing.assert_array_equal(image, (images if item.columns["label"] == "real" else made)[row])
        seen.add(item.columns["label"])
    assert seen == {"real", "fake"}


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_real_images_are_brought_to_what_the_generators_saw(fit, tmp_path):
    write([Drawn([noise(1, 24, 1, seed)[0, :16] for seed in range(20)])], tmp_path / "reals")
    fake = pool(tmp_path, "one", facts=of_generator(tmp_path / "reals", "a", fit=fit))
    source = FakesSource(str(tmp_path / "reals"), (fake,))
    assert source.description["fit"] == fit and source.description["size"] == [12, 12]
    records = Records(tmp_path / "reals")
    decoder = Decoder.of(records.manifest, (12, 12), fit)
    checked = 0
    for item in source:
        if item.columns["label"] == "real":
            seen = decoder.image(records.images([int(item.path[5:-4])])[0]).numpy()
            np.testing.assert_allclose(item.read(), seen * 255, rtol=0, atol=0.5001)
            checked += 1
    assert checked == 20


def test_a_folder_may_hold_the_pools(reals, tmp_path):
    for name in ("two", "one"):
        pool(tmp_path, name)
    (tmp_path / "pools" / "notes").mkdir()
    source = FakesSource(reals, str(tmp_path / "pools"))
    assert source.description["families"] == ["one", "two"]
    alone = FakesSource(reals, str(tmp_path / "pools" / "one"))
    assert alone.description["families"] == ["one"]
    text = f"fakes(reals={reals!r}, pools={str(tmp_path / 'pools')!r}, test=0.5, validation=0.0)"
    by_name = named_source(text)
    assert by_name.description == source.description
    assert {item.columns["split"] for item in by_name} == {"train", "test"}


def test_it_keeps_to_the_contract_of_sources(reals, tmp_path):
    source = FakesSource(reals, (pool(tmp_path, "one"), pool(tmp_path, "two")))
    items = check(source)
    assert len(items) == 2 * 40
    assert len({item.stamp for item in items}) == len(items)


def test_it_can_begin_anywhere(reals, tmp_path):
    source = pickle.loads(pickle.dumps(FakesSource(reals, (pool(tmp_path, "one"), pool(tmp_path, "two")))))
    items = list(source)
    for start, stop in ((0, 5), (17, 44), (30, 31), (len(items) - 1, len(items)), (9, 9)):
        found = list(source.between(start, stop))
        assert facts(found) == facts(items[start:stop])
        for one, two in zip(found, items[start:stop]):
            np.testing.assert_array_equal(one.read(), two.read())


def test_other_pixels_have_another_stamp(reals, tmp_path):
    stamps = []
    for folder in ("first", "second"):
        place = pool(tmp_path / folder, "one", seed=len(folder))
        stamps.append({item.path: item.stamp for item in FakesSource(reals, (place,))})
    assert stamps[0].keys() == stamps[1].keys()
    changed = {path for path in stamps[0] if stamps[0][path] != stamps[1][path]}
    assert changed == {path for path in stamps[0] if path.startswith("one/")}


def test_a_pool_that_is_written_anew_is_read_anew(reals, tmp_path):
    first = list(FakesSource(reals, (pool(tmp_path, "one"),)))
    first[0].read()
    images = noise(20, seed=5)
    write([Drawn(images, [{"source": "one"}] * 20)], tmp_path / "pools" / "one", shards=2, overwrite=True)
    again = list(FakesSource(reals, (str(tmp_path / "pools" / "one"),)))
    np.testing.assert_array_equal(again[0].read(), images[0])
    write([Drawn(noise(20, seed=6), [{"source": "one"}] * 20)], tmp_path / "pools" / "one", shards=2, overwrite=True)
    fakes._opened.cache_clear()
    with pytest.raises(ValueError, match="one were written anew while they were read; begin again"):
        again[0].read()


def test_made_up_real_images_are_still_made_up(tmp_path):
    write([SyntheticSource("tail", classes=3, images=12, size=16)], tmp_path / "reals")
    records = written(tmp_path / "reals", (pool(tmp_path, "one", size=16, channels=3),), tmp_path)
    assert records.synthetic, "every result on them must say so"


# ---- refusals

def refused(match, reals, pools, **words):
    with pytest.raises((ValueError, OSError), match=match) as raised:
        FakesSource(reals, pools, **words)
    assert "\n" not in str(raised.value) and str(raised.value).endswith(".")


def test_pools_of_another_size_are_refused(reals, tmp_path):
    refused(r"the pools have images of 12 x 12 \(one\), 16 x 16 \(two\) but all must have one size", reals,
            (pool(tmp_path, "one"), pool(tmp_path, "two", size=16)))
    refused("the pools have images of 16 x 16, the real ones of other sizes, and one pool does not say how", reals,
            (str(tmp_path / "pools" / "two"),))


def test_a_pool_of_several_sizes_is_refused(reals, tmp_path):
    mixed = [*noise(10, 12), *noise(10, 16)]
    refused("of several sizes", reals, (pool(tmp_path, "one", images=mixed),))
    write([Drawn(mixed)], tmp_path / "mixed")
    refused("of several sizes", str(tmp_path / "mixed"), (str(tmp_path / "pools" / "one"),))


def test_pools_of_generators_that_saw_the_images_otherwise_are_refused(reals, tmp_path):
    refused("but all must have one size and framing", reals, (
        pool(tmp_path, "one", facts=of_generator(reals, "a")),
        pool(tmp_path, "two", facts=of_generator(reals, "b", fit="pad"))))


@pytest.mark.parametrize("words, match", [
    ({"channels": 3}, "has images of 3 channels, uint8, but all must be of 8 bits and, as the real ones, of 1 chan"),
    ({"dtype": np.uint16}, "has images of 1 channels, uint16, but all must be of 8 bits"),
])
def test_pools_of_another_form_are_refused(words, match, reals, tmp_path):
    refused(match, reals, (pool(tmp_path, "one", **words),))


def test_real_images_of_other_than_8_bits_are_refused(tmp_path):
    write([Drawn(noise(20, dtype=np.uint16))], tmp_path / "reals")
    refused("reals has images of 1 channels, uint16, but all must be of 8 bits", str(tmp_path / "reals"),
            (pool(tmp_path, "one"),))


def test_one_generator_under_two_names_is_refused(reals, tmp_path):
    images = noise(20, seed=3)
    first = pool(tmp_path / "a", "one", images=images, facts=of_generator(reals, "a"))
    for again in (pool(tmp_path / "b", "one", facts=of_generator(reals, "b")),        # the same name
                  pool(tmp_path, "other", facts=of_generator(reals, "a")),          # the same weights
                  pool(tmp_path, "copied", images=images)):         # the same images
        refused("are of one generator: a source that is held out would be trained on under the other name", reals,
                (first, again))
    apart = pool(tmp_path, "apart", facts=of_generator(reals, "c"))
    assert len(FakesSource(reals, (first, apart)))


def test_a_generator_of_other_images_is_refused(reals, tmp_path):
    place = pool(tmp_path, "one", facts={**of_generator(reals, "a"), "trained_on": "cars", "trained_on_sha256": "0f"})
    refused("is of a generator that was trained on `cars`, not on the real images in", reals, (place,))


def test_a_pool_needs_one_source_that_is_not_real(reals, tmp_path):
    write([Drawn(noise(20))], tmp_path / "none")
    refused(r"the pool .*none has the sources \[\] but must have one", reals, (str(tmp_path / "none"),))
    refused(r"has the sources \['a', 'b'\] but must have one", reals, (pool(tmp_path, "two", sources="ab"),))
    refused("has the source `real`, which is that of the real images; name its generator", reals,
            (pool(tmp_path, "real"),))


def test_what_holds_no_pool_is_refused(reals, tmp_path):
    refused("`pools` is empty but must name data folders", reals, ())
    (tmp_path / "void").mkdir()
    refused("void but holds no data folder; write pools there by `python -m keras_apps.sample`", reals,
            str(tmp_path / "void"))
    refused("holds no manifest.json", reals, (str(tmp_path / "void"),))
    refused("holds no manifest.json", str(tmp_path / "void"), (pool(tmp_path, "one"),))


@pytest.mark.parametrize("words", [{"test": 0.0}, {"test": -0.1}, {"validation": -0.1}, {"test": 0.9},
                                   {"test": float("nan")}])
def test_shares_must_leave_something_to_train_on(words, reals, tmp_path):
    refused("but they must be shares that leave something to train on; use 0.25 and 0.15", reals,
            (pool(tmp_path, "one"),), **words)


def test_a_damaged_image_is_skipped_as_in_every_source(reals, tmp_path):
    place = pool(tmp_path, "one", count=40)
    records = Records(place)
    index = np.load(f"{place}/index.npz")
    shard = f"{place}/{records.manifest['shards'][0]['file']}"
    raw = bytearray(open(shard, "rb").read())
    raw[index["offset"][3] + 40] ^= 1
    with open(shard, "wb") as file:
        file.write(raw)
    records = written(reals, (place,), tmp_path)
    assert records.manifest["skipped"]["count"] == 1
    assert "record 3" in records.manifest["skipped"]["unreadable"][0]["reason"]
    assert "one/0000003.png" not in records.paths(range(len(records)))


@pytest.mark.slow
def test_processes_write_the_same_bytes(reals, tmp_path):
    source = FakesSource(reals, (pool(tmp_path, "one"), pool(tmp_path, "two")))
    one = write([source], tmp_path / "a" / "out", shards=4)
    two = write([source], tmp_path / "b" / "out", shards=4, processes=2)
    assert one["data_sha256"] == two["data_sha256"] and tf.io.gfile.exists(str(tmp_path / "b" / "out"))
