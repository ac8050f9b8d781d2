"""A data folder comes to be: columns, masks, pairs, dealt splits, and what a kill leaves for the next call."""

import errno
import functools
import io
import json
import os
import pathlib
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfrecords import schema, shards
from tfrecords.read import Records
from tfrecords.write import write

ROOT = pathlib.Path(__file__).resolve().parents[2]


def png(values):
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


def grey(value):
    return png(np.full((4, 5), value, np.uint8))


class Source:
    """Items of (path, what reading gives or raises, columns, mask)."""

    def __init__(self, *listed, pairs=(), **description):
        self.listed, self.pairs, self.description = listed, pairs, {"source": "list", **description}

    def __len__(self):
        return len(self.listed)

    def __iter__(self):
        for path, data, columns, *mask in self.listed:
            yield schema.Item(path, functools.partial(self.read, data), columns,
                              functools.partial(self.read, mask[0]) if mask else None, stamp=repr(data)[:200])

    @staticmethod
    def read(data):
        if isinstance(data, Exception):
            raise data
        return data


def many(count, column="identity"):
    return [(f"{i}.png", grey(i % 250), {column: str(i % 7)}) for i in range(count)]


# ---- what is stored


def test_every_kind_of_column_comes_back(tmp_path):
    points = tuple(float(i) for i in range(10))
    source = Source(
        ("a", grey(1), {"label": "x|y", "true_label": "z", "target": "2.5", "bbox": "1 2 3 4"}, grey(9)),
        ("b", grey(2), {"label": "y", "quality": 0.5, "landmarks": points, "orientation": "front", "cohort": "old"}),
        ("c", grey(3), {}))
    manifest = write([source], tmp_path / "d", shards=2)
    data = Records(tmp_path / "d")
    assert manifest["columns"] == ["label", "true_label", "orientation", "cohort", "target", "quality", "bbox",
                                   "landmarks", "mask"]
    assert manifest["several"] == {"label": 2}
    assert data.names("label") == data.names("true_label") == ["x", "y", "z"]
    assert data.several("label").tolist() == [[0, 1], [1, -1], [-1, -1]]
    assert data.column("true_label").tolist() == [2, -1, -1] and data.several("true_label").shape == (3, 1)
    assert data.values("label", range(3)) == ["x|y", "y", ""]
    with pytest.raises(ValueError, match="up to 2 values of `label` an image but this takes one"):
        data.column("label")
    np.testing.assert_array_equal(data.column("target"), np.float32([2.5, np.nan, np.nan]))
    np.testing.assert_array_equal(data.column("bbox"), np.float32([[1, 2, 3, 4], [np.nan] * 4, [np.nan] * 4]))
    np.testing.assert_array_equal(data.column("landmarks")[1], np.float32(points))
    assert data.column("mask").tolist() == [True, False, False]
    mask, *others = data.masks(range(3))
    assert others == [b"", b""] and (tf.io.decode_png(mask).numpy() == 9).all()
    before = (tmp_path / "d" / "index.npz").read_bytes()
    (tmp_path / "d" / "index.npz").unlink()
    np.testing.assert_array_equal(Records(tmp_path / "d").several("label"), data.several("label"))
    assert (tmp_path / "d" / "index.npz").read_bytes() == before


@pytest.mark.parametrize("mask, reason", [
    (png(np.zeros((4, 4), np.uint8)), r"its mask is uint8 \[4, 4\] but must be of 8 bits and as large as .* 4 x 5"),
    (png(np.dstack([np.eye(4, 5, dtype=np.uint8)] * 2 + [np.zeros((4, 5), np.uint8)])), "colours but must hold one"),
    (b"text", "its mask cannot be used: the file is not an image"), (OSError("the mask is gone"), "the mask is gone"),
    (np.zeros((4, 5), np.float32), "its mask is float32"),
])
def test_an_image_whose_mask_cannot_be_used_is_skipped(tmp_path, mask, reason):
    items = [("bad", grey(1), {}, mask), *many(30)]
    manifest = write([Source(*items)], tmp_path / "d")
    assert manifest["count"] == 30 and manifest["skipped"]["count"] == 1
    assert re.search(reason, manifest["skipped"]["unreadable"][0]["reason"])


def test_a_palette_mask_keeps_its_numbers(tmp_path):
    numbers = np.arange(20, dtype=np.uint8).reshape(4, 5) % 3
    image = Image.fromarray(numbers, "P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    stream = io.BytesIO()
    image.save(stream, "PNG")
    write([Source(("a", grey(1), {}, stream.getvalue()))], tmp_path / "d")
    np.testing.assert_array_equal(tf.io.decode_png(Records(tmp_path / "d").masks([0])[0])[..., 0], numbers)


def test_sixteen_bit_and_float_images_state_their_scaling(tmp_path):
    deep = np.random.default_rng(0).integers(100, 4000, (6, 5, 1)).astype(np.uint16)
    manifest = write([Source(("a", tf.io.encode_png(deep).numpy(), {}), ("b", deep, {}))], tmp_path / "d")
    assert (manifest["dtype"], manifest["raw"], manifest["channels"]) == ("uint16", False, 1)
    assert manifest["scaling"] == {"method": "range", "low": [float(deep.min())], "high": [float(deep.max())]}
    assert Records(tmp_path / "d").images([0])[0].startswith(b"\x89PNG")
    bands = np.random.default_rng(0).normal(size=(6, 5, 4)).astype(np.float32)
    manifest = write([Source(("a", bands, {}), ("b", bands + 1, {}))], tmp_path / "e", scaling="quantile")
    assert (manifest["dtype"], manifest["raw"], manifest["channels"]) == ("float32", True, 4)
    assert manifest["scaling"]["method"] == "quantile" and len(manifest["scaling"]["low"]) == 4
    with pytest.raises(ValueError, match="no full range"):
        write([Source(("a", bands, {}))], tmp_path / "f", scaling="full")


def test_listed_pairs_become_pairs_of_rows(tmp_path):
    items = [("c", grey(3), {}), ("bad", b"text", {}), *((name, grey(1), {}) for name in "abdefghijklmnopqrstu")]
    pairs = [("c", "a", 1, 0), ("a", "bad", 0, 0), ("b", "c", 0, 1)]
    manifest = write([Source(*many(5)), Source(*items, pairs=pairs)], tmp_path / "d")
    assert manifest["pairs"]["count"] == 2 and manifest["pairs"]["left_out"] == 1
    data = Records(tmp_path / "d")
    found = data.pairs()
    named = [(*data.paths([first, second]), same, fold) for first, second, same, fold in
             zip(*(found[key].tolist() for key in ("first", "second", "same", "fold")))]
    assert named == [("c", "a", 1, 0), ("b", "c", 0, 1)]
    arrays = dict(found, second=np.array([0, data.count]))
    np.savez(tmp_path / "d" / "pairs.npz", **arrays)
    with pytest.raises(ValueError, match="the list of pairs .* does not belong to its manifest"):
        data.pairs()
    entry = json.loads((tmp_path / "d" / "manifest.json").read_text())
    entry["pairs"]["sha256"] = shards.settled(tmp_path / "d" / "pairs.npz")
    (tmp_path / "d" / "manifest.json").write_text(json.dumps(entry))
    with pytest.raises(ValueError, match="the list of pairs of `d` does not fit its data"):
        Records(tmp_path / "d").pairs()


def test_dealt_splits_never_part_a_case_and_do_not_depend_on_the_rest(tmp_path):
    shares = {"train": 0.6, "val": 0.2, "test": 0.2}
    items = [(f"{i}.png", grey(1), {"case": str(i // 3), "identity": str(i)}) for i in range(900)]
    plan = shards.Plan([Source(*items)], "d", split_shares=shares)
    found = {}
    for item in plan.sources[0]:
        found.setdefault(item.columns["case"], set()).add(plan._columns(item)["split"])
    assert all(len(splits) == 1 for splits in found.values())
    counts = [sum(splits == {name} for splits in found.values()) for name in shares]
    assert np.allclose(counts, [180, 60, 60], atol=25) and plan.names["split"] == ["test", "train", "val"]
    fewer = shards.Plan([Source(*items[:300])], "d", split_shares=shares)
    assert all(fewer._columns(item)["split"] in found[item.columns["case"]] for item in fewer.sources[0])
    with pytest.raises(ValueError, match="above 0 and 1 together"):
        shards.Plan([Source(*items)], "d", split_shares={"a": float("nan"), "b": 0.5})
    with pytest.raises(ValueError, match="gives it a split already"):
        shards.Plan([Source(("a", grey(1), {"split": "x"}))], "d", split_shares=shares)


def test_a_fitting_number_of_shards():
    assert shards.Plan([Source(*many(50))], "d").shards == 8 and shards.Plan([Source(*many(3))], "d").shards == 3
    source = Source(*many(1))
    source.listed = source.listed * 180_001
    assert shards.Plan([source], "d").shards == 10


def test_made_up_images_and_alignment_are_told(tmp_path):
    manifest = write([Source(*many(3), synthetic=True), Source(*many(2))], tmp_path / "d")
    assert manifest["synthetic"] and "aligned" not in manifest and Records(tmp_path / "d").synthetic
    manifest = write([Source(*many(3), align_size=112)], tmp_path / "e")
    assert not manifest["synthetic"] and manifest["aligned"] == 112


# ---- interruption


def test_a_plan_survives_pickling_and_gives_the_same_bytes(tmp_path):
    plan = shards.Plan([Source(*many(40))], "set", shards=3)
    for name, own in (("a", plan), ("b", pickle.loads(pickle.dumps(plan)))):
        for part in ("parts", "data"):
            (tmp_path / name / part).mkdir(parents=True)
        for number in (2, 0, 1) if name == "b" else range(3):
            shards.write_shard(own, number, tmp_path / name)
        shards.assemble(own, tmp_path / name)
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / name / "data").iterdir()} for name in "ab")
    assert first == second and len(first) == 5


@pytest.mark.parametrize("change, digest_changes", [
    ({}, False), ({"shards": 4}, True), ({"name": "other"}, True), ({"scaling": "range"}, True),
    ({"sources": [Source(*many(40), seed=1)]}, True), ({"sources": [Source(*many(41))]}, True),
    ({"sources": [Source(*many(40, "label"))]}, True),
    ({"sources": [Source(*many(39), ("39.png", grey(200), {"identity": "4"}))]}, True),
])
def test_the_digest_tells_whether_the_work_is_the_same(change, digest_changes):
    words = {"sources": [Source(*many(40))], "name": "set", "shards": 3}
    assert (shards.Plan(**words).digest != shards.Plan(**{**words, **change}).digest) == digest_changes


class Stop(Exception):
    pass


def stopped_after(monkeypatch, images):
    """Serialising the next image stops the process's work as a kill would."""
    serialize, done = schema.serialize, []

    def stopping(row):
        if len(done) >= images:
            raise Stop
        done.append(row["path"])
        return serialize(row)

    monkeypatch.setattr(schema, "serialize", stopping)
    return done


def test_interrupted_writing_goes_on_and_never_rewrites_a_finished_shard(tmp_path, monkeypatch):
    write([Source(*many(40))], tmp_path / "whole", shards=4, name="set")
    with monkeypatch.context() as patch:
        stopped_after(patch, 25)
        with pytest.raises(Stop):
            write([Source(*many(40))], tmp_path / "d", shards=4, name="set")
    assert not (tmp_path / "d").exists()
    finished = sorted((tmp_path / "d.writing" / "data").iterdir())
    assert [path.name for path in finished] == [f"set-0000{i}-of-00004.tfrecord" for i in range(2)]
    before = [path.stat().st_ino for path in finished]
    with monkeypatch.context() as patch:
        done = stopped_after(patch, 1000)
        write([Source(*many(40))], tmp_path / "d", shards=4, name="set")
    assert done == [f"{i}.png" for i in range(20, 40)]
    assert [(tmp_path / "d" / path.name).stat().st_ino for path in finished] == before
    assert {path.name: path.read_bytes() for path in (tmp_path / "d").iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert sorted(os.listdir(tmp_path)) == ["d", "whole"]


def test_work_for_other_images_is_thrown_away(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stopped_after(patch, 25)
        with pytest.raises(Stop):
            write([Source(*many(40))], tmp_path / "d", shards=4)
    write([Source(*many(20))], tmp_path / "d", shards=4)
    assert Records(tmp_path / "d").count == 20 and os.listdir(tmp_path) == ["d"]


def test_too_many_unusable_images_are_told_before_the_end(tmp_path, monkeypatch):
    done = stopped_after(monkeypatch, 1000)
    bad = [(f"bad{i}", b"text", {}) for i in range(150)]
    with pytest.raises(ValueError, match="101 of 1,000 images"):
        write([Source(*bad, *many(850))], tmp_path / "d", shards=2)
    assert not done and os.listdir(tmp_path) == []


def test_half_a_manifest_of_a_killed_process_is_not_published(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stopped_after(patch, 25)
        with pytest.raises(Stop):
            write([Source(*many(40))], tmp_path / "d", shards=4)
    (tmp_path / "d.writing" / "data" / "manifest.json.99999").write_text("{")
    write([Source(*many(40))], tmp_path / "d", shards=4)
    assert sorted(path.suffix for path in (tmp_path / "d").iterdir()) == [".json", ".npz", *[".tfrecord"] * 4]


class FromAnywhere(Source):
    """As folders do: it begins where it is asked to and is never gone through from its beginning."""

    def between(self, start, stop):
        found = [schema.Item(path, functools.partial(self.read, data), columns) for path, data, columns in self.listed]
        return iter(found[start:stop])


def test_a_shard_has_its_own_images_of_several_sources():
    named = [[(f"{name}{i}", grey(1), {}) for i in range(count)] for name, count in (("a", 7), ("b", 5), ("c", 9))]
    plan = shards.Plan([Source(*items) for items in named], "d", shards=4)
    plan.sources[1] = FromAnywhere(*named[1])
    found = [(place, item.path) for number in range(4) for place, item in plan.items(number)]
    assert found == list(enumerate(item[0] for items in named for item in items))


def test_two_processes_never_write_the_same_data(tmp_path):
    plan = shards.Plan([Source(*many(4))], "d")
    with shards.Workplace(str(tmp_path / "d"), plan, False):
        with pytest.raises(BlockingIOError, match="another process is writing `.*d`; wait for it"):
            write([Source(*many(4))], tmp_path / "d")
    assert write([Source(*many(4))], tmp_path / "d")["count"] == 4


def test_a_killed_process_leaves_no_data_folder_and_its_work_goes_on(tmp_path):
    np.savez(tmp_path / "set.npz", images=np.arange(6 * 16, dtype=np.uint8).reshape(6, 4, 4))
    child = textwrap.dedent("""
        import os, signal, sys
        from tfrecords import write
        from tfrecords.sources.npz import NpzSource
        serialize = write.schema.serialize
        def killed(row):
            if row["index"] == int(sys.argv[3]):
                os.kill(os.getpid(), signal.SIGKILL)
            return serialize(row)
        write.schema.serialize = killed
        write.write([NpzSource(sys.argv[1])], sys.argv[2], shards=3)
    """)

    def call(kill_at):
        words = [sys.executable, "-c", child, str(tmp_path / "set.npz"), str(tmp_path / "d"), str(kill_at)]
        return subprocess.run(words, cwd=ROOT, capture_output=True).returncode

    assert call(3) == -signal.SIGKILL and not (tmp_path / "d").exists()
    assert sorted(os.listdir(tmp_path / "d.writing" / "parts"))[0] == "00000.npz"
    assert len(os.listdir(tmp_path / "d.writing" / "parts")) == 2       # one finished, one under a temporary name
    assert call(99) == 0 and Records(tmp_path / "d").count == 6 and not (tmp_path / "d.writing").exists()
    Records(tmp_path / "d").verify()


def test_a_reader_never_sees_a_file_half_written(tmp_path):
    path = tmp_path / "evaluation.json"
    texts = [json.dumps({"figures": [number] * 50_000}) for number in (1, 2)]
    shards.write_file(path, texts[0])
    writer = threading.Thread(target=lambda: [shards.write_file(path, texts[i % 2]) for i in range(1, 60)])
    writer.start()
    seen = set()
    while writer.is_alive():
        seen.add(path.read_text())
    writer.join()
    assert seen <= set(texts)
    assert [entry.name for entry in tmp_path.iterdir()] == ["evaluation.json"]


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    shards.write_file(tmp_path / "a.json", "old")

    class Full:
        def __init__(self, path, mode):
            self.file = open(path, mode)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, content):
            self.file.write(content[:2])
            raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr("tfrecords.shards.open", Full, raising=False)
    with pytest.raises(OSError, match="No space left"):
        shards.write_file(tmp_path / "a.json", "new and longer")
    assert (tmp_path / "a.json").read_text() == "old" and os.listdir(tmp_path) == ["a.json"]


def test_text_and_bytes_are_written_as_they_are(tmp_path):
    shards.write_file(tmp_path / "text", "größer\n")
    shards.write_file(tmp_path / "bytes", b"\xff\x00\r\n")
    assert (tmp_path / "text").read_bytes() == "größer\n".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\xff\x00\r\n"
