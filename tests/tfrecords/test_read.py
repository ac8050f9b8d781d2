import concurrent.futures
import io
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from tfrecords import read, schema, write
from tfrecords.read import Records


def png(value):
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 5), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


class Source:
    description = {"source": "list"}

    def __len__(self):
        return 10

    def __iter__(self):
        for i in range(10):
            yield schema.Item(f"{i}.png", lambda i=i: png(i), {"identity": i % 3, "frame": i})


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    place = tmp_path_factory.mktemp("read") / "set"
    write.write([Source()], place, shards=3)
    return place


@pytest.fixture
def place(original, tmp_path):
    return shutil.copytree(original, tmp_path / "set")


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_rows_in_any_order_and_repeated(place):
    with Records(place) as data:
        assert len(data) == data.count == 10 and data.name == "set" and data.channels == 1
        assert data.images([9, 0, 0, 4]) == [png(9), png(0), png(0), png(4)]
        assert data.paths(np.array([3, 2])) == ["3.png", "2.png"]
        found = data.serialized([5, 1])
        assert found.dtype == object and [schema.parse(one)["index"] for one in found] == [5, 1]
        assert len(data.serialized([])) == 0 and data.images(np.zeros(0)) == []
        assert data.has("frame") and not data.has("label")
        assert data.column("frame").tolist() == list(range(10)) and data.column("frame").dtype == np.int64
        assert data.names("identity") == ["0", "1", "2"] and data.values("identity", [4, 5]) == ["1", "2"]
        data.close()
        assert data.images([1]) == [png(1)]
        data.verify()


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda data: data.column("label"), "no column `label`; present are identity, frame"),
        (lambda data: data.names("frame"), "no category column `frame`; present are identity"),
        (lambda data: data.values("camera", [0]), "no category column `camera`"),
        (lambda data: data.images([10]), "row 10 does not exist; the rows are 0 to 9"),
        (lambda data: data.images([-1]), "row -1 does not exist"),
        (lambda data: data.images(np.ones(10, bool)), "rows are bool"),
    ],
)
def test_wrong_questions_are_refused(original, call, text):
    with pytest.raises(ValueError, match=text):
        call(Records(original))


@pytest.mark.parametrize("most_open", [0, 2, 256])
def test_threads_read_the_same(original, most_open, monkeypatch):
    monkeypatch.setattr(read, "_MOST_OPEN", most_open)
    data = Records(original)
    rows = np.random.default_rng(0).integers(10, size=(50, 8))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(data.images, rows), rows):
            assert found == [png(i) for i in wanted]
    assert len(data._descriptors) <= most_open


def test_a_damaged_record_is_named(place):
    data = Records(place)
    flip(place / "set-00001-of-00003.tfrecord", int(data._index["offset"][4]) + 20)
    text = r"shard set-00001-of-00003.tfrecord, record 1 \(row 4\) is damaged: its checksum differs"
    assert data.images([3, 5]) == [png(3), png(5)]
    with pytest.raises(ValueError, match=text):
        Records(place).images([3, 4])
    with pytest.raises(ValueError, match=text):
        data.verify()


def test_damage_between_records_is_found_by_verify(place):
    flip(place / "set-00002-of-00003.tfrecord", 9)
    data = Records(place)
    assert data.images([6]) == [png(6)]
    with pytest.raises(ValueError, match="shard set-00002-of-00003.tfrecord is damaged between its records"):
        data.verify()


def test_a_shard_cut_while_open_is_named(place):
    data = Records(place)
    os.truncate(place / "set-00000-of-00003.tfrecord", int(data._index["offset"][2]) + 5)
    with pytest.raises(ValueError, match=r"record 2 \(row 2\) is damaged: only 5 of its"):
        data.images([2])


def test_missing_and_short_shards_are_named(place):
    shard = place / "set-00001-of-00003.tfrecord"
    os.truncate(shard, 100)
    with pytest.raises(ValueError, match="shard set-00001-of-00003.tfrecord .* has 100 bytes but must have"):
        Records(place)
    shard.unlink()
    with pytest.raises(
        FileNotFoundError, match="shard set-00001-of-00003.tfrecord is missing .* put it back or"
    ):
        Records(place)


def test_a_missing_index_is_made_anew(place):
    before, files = (place / "index.npz").read_bytes(), sorted(os.listdir(place))
    (place / "index.npz").unlink()
    data = Records(place)
    assert data.images(range(10)) == [png(i) for i in range(10)] and data.column("identity").tolist()[:4] == [
        0,
        1,
        2,
        0,
    ]
    assert (place / "index.npz").read_bytes() == before
    assert sorted(os.listdir(place)) == files


def test_a_missing_index_over_damaged_shards_names_the_record(place):
    flip(place / "set-00001-of-00003.tfrecord", int(Records(place)._index["offset"][4]) + 20)
    (place / "index.npz").unlink()
    with pytest.raises(ValueError, match="shard set-00001-of-00003.tfrecord, record 1 is damaged"):
        Records(place)


def test_another_index_is_refused(place):
    flip(place / "index.npz", 200)
    with pytest.raises(ValueError, match="does not belong to its manifest .* delete it"):
        Records(place)


@pytest.mark.parametrize(
    "change, text",
    [
        ({"version": 99}, "schema version 99 but this suite reads version 1"),
        ({"count": 11}, "faulty entry `shards`"),
        ({"columns": None}, "faulty entry `columns`"),
        ({"index": {"file": "../index.npz"}}, "faulty entry `index`"),
        (
            {"shards": [{"file": "/etc/passwd", "count": 10, "bytes": 1, "sha256": ""}]},
            "faulty entry `shards`",
        ),
    ],
)
def test_faulty_manifests_are_refused(place, change, text):
    manifest = json.loads((place / "manifest.json").read_text())
    (place / "manifest.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(ValueError, match=text):
        Records(place)


@pytest.mark.parametrize("content", ["{", "[]", "", "[" * 100_000])
def test_unreadable_manifests_are_refused(place, content):
    (place / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match="manifest|version"):
        Records(place)


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no manifest.json"):
        Records(tmp_path)
