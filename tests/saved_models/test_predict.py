"""Answers over folders and shards: those of the model, whole or going on, with the bad images told of.

That they are those of a server is tested in tests/serving/test_exported.py.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from saved_models import outputs, predict
from saved_models.export import export
from tests.saved_models.conftest import TinyModel
from tests.tfrecords.here import run_here
from tfrecords.read import Records
from tfrecords.sources.folder import FolderSource
from tfrecords.write import write

COUNT = 22


class Many:
    """Signatures of every kind: texts, bytes, NaN, inputs beside the image, and some that predict cannot ask."""

    def __init__(self):
        self.decoder = TinyModel().decoder

    def signatures(self):
        image, vector = tf.TensorSpec([None], tf.string), tf.TensorSpec([None, 4], tf.float32)

        def larger(image_bytes, scale):
            return {"image_bytes": tf.strings.join([tf.as_string(scale), tf.strings.substr(image_bytes, 0, 4), "\0"]),
                    "scale": scale}

        def told(images):
            mean = tf.reduce_mean(images, [1, 2, 3])
            names = tf.repeat(tf.constant([["ä", "b"]]), tf.shape(mean)[0], axis=0)
            return {"names": names, "label": names[:, 0], "ratio": mean / tf.zeros_like(mean), "bright": mean > 0.5,
                    "map": images[..., 0]}
        return {"told": {"function": told, "images": 1},
                "larger": {"function": larger, "inputs": {"image_bytes": image, "scale": tf.TensorSpec([None],
                                                                                                     tf.int32)}},
                "own": {"function": lambda image_bytes: {"index": image_bytes}, "inputs": {"image_bytes": image}},
                "sum": {"function": lambda embedding: {"sum": embedding}, "inputs": {"embedding": vector}},
                "both": {"function": lambda image_bytes, embedding: {"sum": embedding},
                         "inputs": {"image_bytes": image, "embedding": vector}}}


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    model = Many()
    return export(str(tmp_path_factory.mktemp("many")), "many", model.signatures(), model.decoder, [], {}, check=False)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    model = TinyModel(seed=1)
    return export(str(tmp_path_factory.mktemp("other")), "other", model.signatures, model.decoder, model.variables, {},
                  check=False)


@pytest.fixture(scope="module")
def photos(tmp_path_factory, png):
    """22 images, 11 in each of two splits; one of them a WEBP."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(COUNT):
        place = folder / ("train" if number % 2 else "test") / "a"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:02d}.png").write_bytes(png(number))
    pixels = tf.io.decode_png(png(3)).numpy()
    (folder / "train" / "a" / "03.png").unlink()
    Image.fromarray(pixels).save(folder / "train" / "a" / "03.webp", lossless=True)
    return folder


@pytest.fixture(scope="module")
def shards(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "photos"
    write([FolderSource(photos)], out, shards=2)
    return out


@pytest.fixture(scope="module")
def live(shards):
    """The records in order and the vectors of the model in memory."""
    records, model = Records(shards), TinyModel()
    rows = np.arange(COUNT)
    images = records.images(rows)
    return records.paths(rows), images, model.embed(model.decoder.images(tf.constant(images)))["embedding"].numpy()


def joined(out):
    parts = list(outputs.load(out))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_answers_are_those_of_the_model(version, shards, live, tmp_path):
    paths, images, vectors = live
    manifest = predict.predict(version, shards, str(tmp_path), "embed", batch=4, rows_per_shard=10)
    assert [(one["file"], one["count"]) for one in manifest["shards"]] == [
        ("embed-00000-of-00003.npz", 10), ("embed-00001-of-00003.npz", 10), ("embed-00002-of-00003.npz", 2)]
    found = joined(tmp_path)
    assert found["paths"].tolist() == paths and found["index"].tolist() == list(range(COUNT))
    np.testing.assert_allclose(found["embedding"], vectors, atol=1e-6)


def test_the_manifest_says_what_was_asked_and_what_of(version, shards, tmp_path):
    manifest = predict.predict(version, shards, str(tmp_path), "embed", shards=3)
    assert manifest == json.loads((tmp_path / "manifest.json").read_text())
    assert sorted(os.listdir(tmp_path)) == sorted(["manifest.json", *(one["file"] for one in manifest["shards"])])
    assert [one["count"] for one in manifest["shards"]] == [8, 8, 6] and manifest["count"] == COUNT
    assert manifest["data_sha256"] == Records(shards).manifest["data_sha256"] and manifest["signature"] == "embed"
    assert manifest["model"] == "verification/1" and manifest["outputs"] == {"embedding": ["float32", [None, 4]]}
    for one in manifest["shards"]:
        assert outputs.file_sha256(tmp_path / one["file"]) == one["sha256"]


def test_a_folder_and_a_zip_are_read_by_the_same_rules(version, photos, live, tmp_path):
    paths, _, vectors = live
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in photos.rglob("*.*"):
            archive.write(path, path.relative_to(photos))
    for data in (photos, tmp_path / "photos.zip"):
        predict.predict(version, str(data), f"{tmp_path}/{data.name}_out", "embed")
        found = joined(f"{tmp_path}/{data.name}_out")
        assert found["paths"].tolist() == paths and "train/a/03.webp" in paths
        np.testing.assert_allclose(found["embedding"], vectors, atol=1e-6)


def test_a_split_or_a_pattern_leaves_the_others_out(version, photos, shards, live, tmp_path):
    paths, _, vectors = live
    chosen = [place for place, path in enumerate(paths) if path.startswith("train/")]
    one = predict.predict(version, shards, str(tmp_path / "a"), "embed", split="train")
    two = predict.predict(version, photos, str(tmp_path / "b"), "embed", split="train")
    three = predict.predict(version, photos, str(tmp_path / "c"), "embed", pattern="^(?P<split>train)/")
    for out in "abc":
        found = joined(tmp_path / out)
        assert found["paths"].tolist() == [paths[place] for place in chosen]
        np.testing.assert_allclose(found["embedding"], vectors[chosen], atol=1e-6)
    assert joined(tmp_path / "a")["index"].tolist() == chosen
    assert one["data"]["split"] == two["data"]["split"] == "train" and three["data"]["ignored"] == COUNT // 2
    for data in (shards, photos):
        with pytest.raises(ValueError, match="`--split` is `tarin` but the images of .* have the splits test, train"):
            predict.predict(version, data, str(tmp_path / "d"), "embed", split="tarin")
    with pytest.raises(ValueError, match="`--pattern` is .* holds records, whose paths were read when"):
        predict.predict(version, shards, str(tmp_path / "d"), "embed", pattern="(?P<split>train)")


class Stopped(Exception):
    pass


def stopping_after(rows, said=None):
    """A `show` that ends the run like a Ctrl-C once so many images are answered."""
    @contextlib.contextmanager
    def show(done, total):
        seen = [done]

        def advance(count):
            seen[0] += count
            if seen[0] > rows:
                raise Stopped
        if said is not None:
            said.append((done, total))
        yield advance
    return show


def asked(monkeypatch):
    """The paths of every image that a model is asked."""
    found, ask = [], predict.Signature.ask

    def counted(self, rows):
        found.extend(row.index for row in rows)
        return ask(self, rows)
    monkeypatch.setattr(predict.Signature, "ask", counted)
    return found


def whole(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_an_interrupted_run_goes_on_with_the_missing_shards(version, shards, tmp_path, monkeypatch):
    words = {"signature": "embed", "batch": 3, "rows_per_shard": 5}
    predict.predict(version, shards, str(tmp_path / "at_once"), **words)
    with pytest.raises(Stopped):
        predict.predict(version, shards, str(tmp_path / "out"), **words, show=stopping_after(12))
    assert sorted(os.listdir(tmp_path / "out")) == [outputs.JOURNAL, "embed-00000-of-00005.npz",
                                                    "embed-00001-of-00005.npz"]
    (tmp_path / "out" / ".embed-00002-of-00005.npz.part").write_bytes(b"half")      # what a kill leaves
    with open(tmp_path / "out" / outputs.JOURNAL, "a") as stream:
        stream.write('{"number": 2, "file": "embed-00002')
    seen, said = asked(monkeypatch), []
    predict.predict(version, shards, str(tmp_path / "out"), **words, show=stopping_after(COUNT, said))
    assert said == [(10, COUNT)] and sorted(seen) == list(range(10, COUNT))
    assert whole(tmp_path / "out") == whole(tmp_path / "at_once")


def test_a_finished_run_asks_nothing_and_makes_a_damaged_shard_anew(version, shards, tmp_path, monkeypatch):
    words = {"signature": "embed", "rows_per_shard": 8}
    manifest = predict.predict(version, shards, str(tmp_path), **words)
    before, seen = whole(tmp_path), asked(monkeypatch)
    assert predict.predict(version, shards, str(tmp_path), **words) == manifest and not seen
    (tmp_path / "embed-00001-of-00003.npz").write_bytes(before["embed-00001-of-00003.npz"][:-1] + b"!")
    predict.predict(version, shards, str(tmp_path), **words)
    assert sorted(seen) == list(range(8, 16)) and whole(tmp_path) == before


def test_batches_at_the_same_time_change_no_bit(version, shards, tmp_path):
    for in_flight in (1, 5):
        predict.predict(version, shards, str(tmp_path / str(in_flight)), "embed", batch=2, in_flight=in_flight)
    assert whole(tmp_path / "1") == whole(tmp_path / "5")


def test_the_size_of_shards_is_that_of_the_run_before_where_none_is_given(version, shards, tmp_path):
    with pytest.raises(Stopped):
        predict.predict(version, shards, str(tmp_path), "embed", rows_per_shard=7, show=stopping_after(8))
    manifest = predict.predict(version, shards, str(tmp_path), "embed")
    assert [one["count"] for one in manifest["shards"]] == [7, 7, 7, 1]


def test_a_shard_holds_about_so_many_bytes(version, shards, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "SHARD_BYTES", 9 * 16 + 15)      # of 4 floats each: 9, a multiple of the batch
    manifest = predict.predict(version, shards, str(tmp_path / "a"), "embed", batch=3)
    assert [one["count"] for one in manifest["shards"]] == [9, 9, 4]
    monkeypatch.setattr(predict, "MOST_ROWS", 8)
    manifest = predict.predict(version, shards, str(tmp_path / "b"), "embed", batch=3)
    assert [one["count"] for one in manifest["shards"]] == [6, 6, 6, 4]


KILLED = """
import sys, time
from saved_models import predict
def wait(self, final):
    print("written", flush=True)
    time.sleep(60)
predict._Work._judge = wait
predict.predict(*sys.argv[1:4], "embed", batch=3, rows_per_shard=5)
"""


def test_a_killed_process_goes_on(version, shards, tmp_path, monkeypatch):
    process = subprocess.Popen([sys.executable, "-c", KILLED, version, shards, tmp_path / "out"],
                               cwd=Path(predict.__file__).parents[1], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout.readline() == b"written\n"
    words = {"signature": "embed", "batch": 3, "rows_per_shard": 5}
    with pytest.raises(ValueError, match="is being written by another process; wait for it or give another --out"):
        predict.predict(version, shards, str(tmp_path / "out"), **words)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    seen = asked(monkeypatch)
    predict.predict(version, shards, str(tmp_path / "out"), **words)
    assert sorted(seen) == list(range(5, COUNT))
    predict.predict(version, shards, str(tmp_path / "at_once"), **words)
    assert whole(tmp_path / "out") == whole(tmp_path / "at_once")


@pytest.fixture(scope="module", params=[COUNT, 12], ids=["finished", "interrupted"])
def there(request, version, shards, tmp_path_factory):
    """The answers of a job, and its words."""
    words = {"model": version, "data": shards, "out": str(tmp_path_factory.mktemp("there")), "signature": "embed",
             "rows_per_shard": 5}
    with contextlib.nullcontext() if request.param == COUNT else pytest.raises(Stopped):
        predict.predict(**words, show=stopping_after(request.param))
    return words


@pytest.mark.parametrize("change, said", [
    ({"model": "other"}, "its model is [0-9a-f]{16} and not [0-9a-f]{16}; give another --out, or delete it to begin"),
    ({"data": "photos"}, "its data is [0-9a-f]{16} and not"), ({"split": "test"}, "its data is [0-9a-f]{16} and not"),
    ({"signature": "serving_default"}, "its signature is embed and not serving_default"),
    ({"form": "jsonl"}, "its format is npz and not jsonl"),
    ({"rows_per_shard": 4}, "its size of the shards is 5 and not 4"),
])
def test_answers_of_another_job_are_not_mixed(there, other, photos, change, said):
    before = whole(there["out"])
    given = {name: {"other": other, "photos": photos}.get(value, value) for name, value in change.items()}
    with pytest.raises(ValueError, match=f"`{there['out']}` holds answers of another job: {said}"):
        predict.predict(**{**there, **given})
    assert whole(there["out"]) == before


def test_a_folder_of_other_files_is_left_alone(version, shards, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="`.*/a` holds files that are no answers, such as `notes.txt`; give a new"):
        predict.predict(version, shards, str(tmp_path / "a"), "embed")
    with pytest.raises(ValueError, match="manifest.json` is no manifest of answers; give a new or empty folder as --o"):
        predict.predict(version, shards, str(shards), "embed")
    with pytest.raises(ValueError, match="notes.txt` is a file but --out must be a folder; give another name"):
        predict.predict(version, shards, str(tmp_path / "a" / "notes.txt"), "embed")
    assert whole(tmp_path / "a") == {"notes.txt": b"mine"}


def test_images_that_cannot_be_read_are_left_out_and_listed(version, photos, live, tmp_path, png):
    folder = tmp_path / "photos"
    (folder / "train").mkdir(parents=True)
    for path in sorted(photos.rglob("*.*")):
        (folder / "train" / path.name).write_bytes(path.read_bytes())
    (folder / "train" / "05.png").write_bytes(png(5)[:60])
    manifest = predict.predict(version, folder, str(tmp_path / "out"), "embed", batch=4, rows_per_shard=6)
    assert manifest["count"] == COUNT - 1 and manifest["skipped"] == {"count": 1, "unreadable": [
        {"path": "train/05.png", "reason": "the model cannot read it: Invalid PNG data, size 60"}]}
    assert [(one["count"], one["skipped"]["count"]) for one in manifest["shards"]] == [(5, 1), (6, 0), (6, 0), (4, 0)]
    found = joined(tmp_path / "out")
    assert found["index"].tolist() == [place for place in range(COUNT) if place != 5]
    places = {os.path.basename(path): place for place, path in enumerate(live[0])}
    rows = [places[os.path.basename(path)] for path in found["paths"]]
    np.testing.assert_allclose(found["embedding"], live[2][rows], atol=1e-6)
    for name in ("06.png", "07.png"):
        (folder / "train" / name).write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"3 of 22 images \(13.6%\) cannot be used, more than the 5% that are skipped"):
        predict.predict(version, folder, str(tmp_path / "again"), "embed", rows_per_shard=8)
    assert "embed-00001-of-00003.npz" not in os.listdir(tmp_path / "again"), "it is certain after the first shard"
    for path in (folder / "train").iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="none of the 22 images can be used"):
        predict.predict(version, folder, str(tmp_path / "none"), "embed")


def test_a_damaged_record_does_not_take_its_neighbours_along(version, shards, live, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for name, content in whole(shards).items():
        (data / name).write_bytes(content)
    records = Records(data)
    shard = data / records.manifest["shards"][0]["file"]
    content = bytearray(shard.read_bytes())
    content[records._index["offset"][2] + 20] ^= 1
    shard.write_bytes(content)
    manifest = predict.predict(version, data, str(tmp_path / "out"), "embed")
    assert manifest["skipped"]["count"] == 1 and manifest["skipped"]["unreadable"][0]["path"] == "row 2"
    assert "record 2 (row 2) is damaged: its checksum differs" in manifest["skipped"]["unreadable"][0]["reason"]
    found = joined(tmp_path / "out")
    assert found["index"].tolist() == [row for row in range(COUNT) if row != 2]
    np.testing.assert_allclose(found["embedding"], np.delete(live[2], 2, axis=0), atol=1e-6)


def test_a_shard_without_any_usable_image_is_there_all_the_same(many, photos, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in sorted(photos.rglob("*.*")):
        (folder / path.name).write_bytes(path.read_bytes() if path.name != "05.png" else b"")
    predict.predict(many, folder, str(tmp_path / "a"), "told", rows_per_shard=1)
    parts = list(outputs.load(tmp_path / "a"))
    assert [len(part["paths"]) for part in parts] == [1] * 5 + [0] + [1] * 16
    assert parts[5]["names"].shape == (0, 2) and parts[5]["bright"].dtype == bool
    predict.predict(many, folder, str(tmp_path / "b"), "larger", given={"scale": 1}, form="jsonl", rows_per_shard=1)
    assert (tmp_path / "b" / "larger-00005-of-00022.jsonl").read_bytes() == b""


def loaded(index, image=b"x", pixels=1, fault=""):
    return predict.Loaded(index, f"{index}.png", image, pixels, fault)


def test_what_the_model_refuses_is_found_by_halves(version, png):
    function = predict.Signature(version, "embed")
    rows = [loaded(place, b"no image" if place in (1, 6) else png(place)) for place in range(8)]
    parts, refused = function.ask(rows)
    assert [row.index for rows, _ in parts for row in rows] == [0, 2, 3, 4, 5, 7]
    assert [(row.index, reason.split(":")[0]) for row, reason in refused] == [(1, "the model cannot read it"),
                                                                              (6, "the model cannot read it")]
    live = TinyModel()
    wanted = live.embed(live.decoder.images(tf.constant([png(place) for place in (0, 2, 3, 4, 5, 7)])))["embedding"]
    np.testing.assert_allclose(np.concatenate([values["embedding"] for _, values in parts]), wanted, atol=1e-6)
    assert function.ask([]) == ([], [])


def test_batches_are_bounded_by_rows_bytes_pixels_and_one_shape(monkeypatch):
    monkeypatch.setattr(predict, "BATCH_BYTES", 10)
    monkeypatch.setattr(predict, "BATCH_PIXELS", 100)

    def sizes(*images):
        return [([one.index for one in batch], [one.index for one in faults])
                for batch, faults in predict._batches(images, 3)]
    assert sizes(*map(loaded, range(4))) == [([0, 1, 2], []), ([3], [])]
    assert sizes(*(loaded(place, b"12345678") for place in range(2))) == [([0], []), ([1], [])]
    assert sizes(loaded(0, pixels=1000), loaded(1), loaded(2, pixels=99), loaded(3, pixels=2)) == [
        ([0], []), ([1, 2], []), ([3], [])]
    small, large = np.zeros([1, 1, 1], np.float32), np.zeros([1, 2, 1], np.float32)
    assert sizes(loaded(0, small), loaded(1, small), loaded(2, large)) == [([0, 1], []), ([2], [])]
    assert sizes(loaded(0, fault="bad"), loaded(1), loaded(2, fault="bad")) == [([1], [0, 2])]
    assert sizes(loaded(0, fault="bad")) == [([], [0])] and sizes() == []


def test_only_so_much_is_read_ahead():
    read, pool = [], predict.concurrent.futures.ThreadPoolExecutor(1)
    found = predict._ahead(pool, lambda rows: read.append(rows) or rows, ((0, rows) for rows in range(100)), 3)
    taken = [next(found) for _ in range(10)]
    pool.submit(int).result()       # behind all that was asked for
    assert taken == [(0, rows) for rows in range(10)] and read == list(range(13))
    assert list(found) == [(0, rows) for rows in range(10, 100)]
    pool.shutdown()


def test_few_large_records_are_read_together(shards, monkeypatch):
    mean = Records(shards).column("bytes").mean()
    found = []
    for size in (1, 3.5 * mean, 1e9):
        monkeypatch.setattr(predict, "READ_BYTES", size)
        found.append(predict.images_of(shards).together)
    assert found == [1, 3, predict.READ_TOGETHER]


def test_images_of_bands_are_asked_as_numbers(version, tmp_path):
    values = np.random.default_rng(0).uniform(0, 255, (5, 6, 7, 3)).astype(np.float32)
    (tmp_path / "arrays").mkdir()
    for place, value in enumerate(values):
        np.save(tmp_path / "arrays" / f"{place}.npy", value)
    write([FolderSource(tmp_path / "arrays")], tmp_path / "data", shards=1)
    predict.predict(version, tmp_path / "data", str(tmp_path / "out"), "embed_tensor", batch=2)
    model = TinyModel()
    np.testing.assert_allclose(joined(tmp_path / "out")["embedding"],
                               model.embed(model.decoder.tensor(values))["embedding"], atol=1e-6)
    with pytest.raises(ValueError, match="`embed` takes `image_bytes` but the data are numbers; give --signature=em"):
        predict.predict(version, tmp_path / "data", str(tmp_path / "no"), "embed")


def test_texts_bytes_and_what_is_no_number(many, shards, live, tmp_path):
    predict.predict(many, shards, str(tmp_path / "a"), "told")
    found = joined(tmp_path / "a")
    assert found["names"].tolist() == [["ä", "b"]] * COUNT and found["label"].tolist() == ["ä"] * COUNT
    assert found["bright"].dtype == bool and np.isinf(found["ratio"]).all() and found["map"].shape == (COUNT, 8, 8)
    words = {"signature": "told", "form": "jsonl", "rows_per_shard": 20}
    with pytest.raises(ValueError, match="the output `map` of `told` is no row of numbers, for which jsonl is no"):
        predict.predict(many, shards, str(tmp_path / "b"), **words)
    predict.predict(many, shards, str(tmp_path / "b"), **words, wanted=("names", "ratio", "bright"))
    lines = [json.loads(line) for name in ("told-00000-of-00002.jsonl", "told-00001-of-00002.jsonl")
             for line in (tmp_path / "b" / name).read_text().splitlines()]
    assert lines[21] == {"index": 21, "path": live[0][21], "names": ["ä", "b"], "ratio": None,
                         "bright": bool(found["bright"][21])}
    assert len(lines) == COUNT


def test_inputs_beside_the_image_are_the_same_for_all(many, shards, live, tmp_path):
    words = {"signature": "larger", "given": {"scale": "2"}, "rows_per_shard": 20}
    predict.predict(many, shards, str(tmp_path / "a"), **words)
    found = joined(tmp_path / "a")
    assert found["image_bytes"].tolist() == [b"2\x89PNG\0"] * COUNT and found["scale"].tolist() == [2] * COUNT
    predict.predict(many, shards, str(tmp_path / "b"), **words, form="jsonl")
    line = (tmp_path / "b" / "larger-00000-of-00002.jsonl").read_text().splitlines()[0]
    assert json.loads(line)["image_bytes"] == {"b64": "MolQTkcA"}
    with pytest.raises(ValueError, match="its inputs beside the images is {'scale': '2'} and not {'scale': '3'}"):
        predict.predict(many, shards, str(tmp_path / "a"), **{**words, "given": {"scale": "3"}})


@pytest.mark.parametrize("of, words, said", [
    ("version", {"signature": "verify"}, r"`verify` takes 2 images a row \(image_bytes_1, image_bytes_2\) but the"),
    ("version", {"signature": "embd"}, "has no signature `embd`; give --signature=embed or embed_tensor or serv"),
    ("version", {"signature": "embed_tensor"}, "takes `image_tensor` but the data are encoded images; give --signature="
     "embed."),
    ("version", {"signature": "embed", "wanted": ("vector",)}, "`--outputs` names `vector` but `embed` gives embeddin"),
    ("version", {"signature": "embed", "given": {"scale": "2"}}, "`--set` names `scale` but beside the images `embed"),
    ("version", {"batch": 0}, "`batch` is 0 but must be a whole number of at least 1."),
    ("version", {"form": "csv"}, "`format` is 'csv' but must be npz or jsonl."),
    ("version", {"shards": 2, "rows_per_shard": 2}, "`shards` and `rows_per_shard` are both given but one follows"),
    ("many", {"signature": "sum"}, "`sum` takes embedding but the data are images; give --signature=both or larger or"),
    ("many", {"signature": "both"}, r"`both` also takes `embedding` \(float32 \[None, 4\]\), which is not one number"),
    ("many", {"signature": "larger"}, "`larger` also takes `scale`; give --set=scale=NUMBER, which then holds for ev"),
    ("many", {"signature": "larger", "given": {"scale": "x"}}, "`--set` gives `scale` the value 'x' but it must be i"),
    ("many", {"signature": "own"}, "the output `index` of `own` has the name of a column beside the outputs; leave it"),
])
def test_what_cannot_be_asked_is_refused_before_anything_is_written(version, many, shards, tmp_path, of, words, said):
    model = {"version": version, "many": many}[of]
    with pytest.raises(ValueError, match=said):
        predict.predict(model, shards, str(tmp_path / "out"), **{"signature": "serving_default", **words})
    assert not (tmp_path / "out").exists()


def test_the_command(version, many, shards, tmp_path, capsys):
    models, out = os.path.dirname(version), str(tmp_path / "out")
    words = [f"--model={models}", f"--data={shards}", "--signature=embed", f"--out={out}", "--batch=5"]
    code, said, noted = run_here(predict, capsys, *words)
    assert (code, said) == (0, f"22 answers of embed by {version} in 1 files, {out}/manifest.json\n")
    assert noted.startswith("embed: 22 of 22 images, ") and noted.endswith(" images/s\n") and noted.count("\n") == 1
    assert run_here(predict, capsys, *words)[1:] == (said, f"{out} is finished; give another --out to ask anew.\n")
    with pytest.raises(Stopped):
        predict.predict(version, shards, f"{out}2", "embed", rows_per_shard=10, show=stopping_after(11))
    noted = run_here(predict, capsys, *words[:3], f"--out={out}2")[2]
    assert noted.startswith(f"going on in {out}2: 10 of 22 images are done\nembed: 22 of 22 images, ")
    code, said, _ = run_here(predict, capsys, f"--model={many}", f"--data={shards}", "--signature=larger",
                             "--set=scale=3", "--outputs=scale", "--format=jsonl", f"--out={out}3")
    assert code == 0 and '"scale": 3}' in (tmp_path / "out3" / "larger-00000-of-00001.jsonl").read_text()
    code, said, noted = run_here(predict, capsys, *words, "--set=scale")
    assert (code, said, noted) == (1, "", "error: `--set` is `scale` but must be name=number, such as scale=2.\n")


def test_a_full_disk_is_told_of_and_the_run_goes_on(version, shards, tmp_path, monkeypatch):
    full, put = [True], outputs.Shards._put

    def limited(self, name, data):
        if full[0] and "00001" in name:
            with self._explained():
                raise OSError(outputs.errno.ENOSPC, "No space left on device")
        put(self, name, data)
    monkeypatch.setattr(outputs.Shards, "_put", limited)
    with pytest.raises(OSError, match="is full after 1 shards; free space and give the same command, which goes on"):
        predict.predict(version, shards, str(tmp_path), "embed", rows_per_shard=10)
    full[0] = False
    assert predict.predict(version, shards, str(tmp_path), "embed", rows_per_shard=10)["count"] == COUNT
