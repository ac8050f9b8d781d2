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
        ({"version": 99}, "schema version 99 but this suite reads version 2"),
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


def shard(manifest, **change):
    manifest["shards"][0].update(change)


MANIFESTS = {
    "data_sha256": [lambda m: m.pop("data_sha256"), lambda m: m.update(data_sha256="0" * 64)],
    "index": [lambda m: m["index"].pop("sha256"), lambda m: m["index"].update(sha256=7),
              lambda m: m["index"].update(file="a\0b"), lambda m: m.update(index=[])],
    "names": [lambda m: m["names"].update(identity=7), lambda m: m["names"].update(identity=["0", 1, "2"]),
              lambda m: m["names"].update(identity=["0", "0", "2"]), lambda m: m.update(names={}),
              lambda m: m["names"].update(camera=["a"]), lambda m: m["columns"].append("camera")],
    "columns": [lambda m: m["columns"].append({}), lambda m: m["columns"].append("frame"),
                lambda m: m["columns"].append("shoe_size"), lambda m: m.update(columns={"identity": 1})],
    "shards": [lambda m: shard(m, sha256=None), lambda m: shard(m, sha256="x" * 64), lambda m: shard(m, bytes=True),
               lambda m: shard(m, count=-1), lambda m: shard(m, file=3), lambda m: m["shards"].append([]),
               lambda m: m.update(shards={}), lambda m: shard(m, bytes=2 ** 70)],
    "count": [lambda m: m.update(count=True), lambda m: m.update(count=0), lambda m: m.pop("count")],
    "channels": [lambda m: m.update(channels=2), lambda m: m.update(channels="1")],
    "name": [lambda m: m.update(name=None)],
}


@pytest.mark.parametrize("entry, mutate", [(entry, mutate) for entry, all_ in MANIFESTS.items() for mutate in all_])
def test_unsound_entries_of_a_manifest_are_named(place, entry, mutate):
    manifest = json.loads((place / "manifest.json").read_text())
    mutate(manifest)
    (place / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=rf"set/manifest.json` has a faulty entry `{entry}`; write the data again"):
        Records(place)


def set_one(name, value):
    return lambda arrays: arrays[name].__setitem__(1, value)


INDICES = {
    "shard": [lambda a: a.pop("shard"), set_one("shard", 1), set_one("shard", 3), set_one("shard", -1)],
    "offset": [set_one("offset", 0), set_one("offset", -5), set_one("offset", 2 ** 63 - 1), set_one("offset", 10 ** 4)],
    "length": [set_one("length", 2 ** 36), set_one("length", 2 ** 63 - 1), set_one("length", -1),
               lambda a: a.update(length=a["length"].astype(np.float64)), lambda a: a.pop("length")],
    "crc": [lambda a: a.update(crc=a["crc"][:5])],
    "height": [set_one("height", 0), lambda a: a.update(height=a["height"].reshape(2, 5))],
    "channels": [set_one("channels", 1025)], "index": [lambda a: a.pop("index"), set_one("index", -1)],
    "identity": [lambda a: a.pop("identity"), set_one("identity", 3), set_one("identity", -2)],
    "frame": [lambda a: a.update(frame=a["frame"][:9]), lambda a: a.update(frame=a["frame"].astype("U3"))],
}


def put_index(place, data):
    (place / "index.npz").write_bytes(data)
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["index"]["sha256"] = read.file_sha256(place / "index.npz")
    (place / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("name, mutate", [(name, mutate) for name, all_ in INDICES.items() for mutate in all_])
def test_unsound_arrays_of_an_index_are_named_and_made_anew(place, name, mutate):
    with np.load(place / "index.npz") as arrays:
        arrays = dict(arrays)
    mutate(arrays)
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    put_index(place, stream.getvalue())
    with pytest.raises(ValueError, match=rf"the index `.*set/index.npz` has no array `{name}` that fits .* delete it"):
        Records(place)
    (place / "index.npz").unlink()
    assert Records(place).images([1, 9]) == [png(1), png(9)]


def test_an_index_that_is_no_archive_is_refused(place):
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    for data in (b"", b"nothing", b"PK\x03\x04", array.getvalue()):
        put_index(place, data)
        with pytest.raises(ValueError, match=r"the index `.*set/index.npz` is not readable \(.*\); delete it"):
            Records(place)


def test_too_few_names_are_told_with_and_without_an_index(place):
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["names"]["identity"].pop()
    (place / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="has no array `identity` that fits its manifest .* write the data again"):
        Records(place)
    (place / "index.npz").unlink()
    with pytest.raises(ValueError, match="have a `identity` that does not fit their manifest.json; write the data"):
        Records(place)


@pytest.mark.parametrize("content", ["{", "[]", "", "[" * 100_000])
def test_unreadable_manifests_are_refused(place, content):
    (place / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match="manifest|version"):
        Records(place)


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no manifest.json"):
        Records(tmp_path)
