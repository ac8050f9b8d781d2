"""Shards of answers: what their bytes hold, and what a folder of them takes for its own."""

import io
import json
import math
import zipfile

import numpy as np
import pytest

from saved_models import outputs

JOB = {"model_sha256": "a" * 64, "data_sha256": "b" * 64, "signature": "s", "outputs": {}, "inputs": {},
       "format": "npz", "rows_per_shard": 2}


def objects(*items):
    found = np.empty(len(items), object)
    found[:] = items
    return found


VALUES = {"vector": np.array([[1.5, 2.0], [0.1, -3.0]], np.float32), "yes": np.array([True, False]),
          "picture_bytes": objects(b"\x89PNG\0\0", b""), "label": objects("ä".encode(), b"odd \xff")}


def written(folder, form="npz"):
    with outputs.Shards(str(folder)) as shards:
        shards.start({**JOB, "format": form})
        shards.add(0, f"s.{form}", outputs.packed(form, [3, 5], ["a/ü.png", "b\udcff.png"], VALUES), count=2)
        return shards.finish({"count": 2})


def test_arrays_come_back_as_they_were(tmp_path):
    written(tmp_path)
    part, = outputs.load(tmp_path)
    assert part["index"].tolist() == [3, 5] and part["paths"].tolist() == ["a/ü.png", "b\udcff.png"]
    assert part["picture_bytes"].tolist() == [b"\x89PNG\0\0", b""]
    assert part["label"].tolist() == ["ä", "odd \udcff"], "bytes that are no text are kept as file names keep them"
    for name in ("vector", "yes"):
        assert part[name].dtype == VALUES[name].dtype and (part[name] == VALUES[name]).all()


def test_bytes_of_several_columns(tmp_path):
    pictures = np.array([[b"1", b"22"], [b"", b"4444"]], object)
    with np.load(io.BytesIO(bytes(outputs.packed("npz", [0, 1], ["a", "b"], {"a_bytes": pictures})))) as arrays:
        assert arrays["a_bytes"].tobytes() == b"1224444" and arrays["a_bytes_ends"].tolist() == [[1, 3], [3, 7]]


def test_equal_answers_are_equal_bytes_and_texts_are_packed():
    one, two = (bytes(outputs.packed("npz", [0, 1], ["x" * 500, "y"], dict(VALUES))) for _ in range(2))
    assert one == two
    with zipfile.ZipFile(io.BytesIO(one)) as archive:
        packed = {entry.filename for entry in archive.infolist() if entry.compress_type == zipfile.ZIP_DEFLATED}
    assert packed == {"paths.npy", "label.npy"}


def test_lines_of_json():
    values = {**VALUES, "ratio": np.array([[1.0, math.nan], [math.inf, 0.5]])}
    lines = outputs.packed("jsonl", np.array([3, 5]), ["a", "b\udcff"], values).decode().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"index": 3, "path": "a", "vector": [1.5, 2.0], "yes": True, "picture_bytes": {"b64": "iVBORwAA"}, "label": "ä",
         "ratio": [1.0, None]},
        {"index": 5, "path": "b\udcff", "vector": [float(np.float32(0.1)), -3.0], "yes": False,
         "picture_bytes": {"b64": ""}, "label": "odd \udcff", "ratio": [None, 0.5]}]


def test_only_npz_is_loaded(tmp_path):
    written(tmp_path, "jsonl")
    with pytest.raises(ValueError, match="holds jsonl files but this reads npz; read them line by line"):
        next(outputs.load(tmp_path))


def test_a_journal_is_believed_up_to_its_first_bad_line_and_shards_by_their_hash(tmp_path):
    shards = outputs.Shards(str(tmp_path))
    shards.start(JOB)
    for number in range(4):
        shards.add(number, f"{number}.npz", bytes([number]) * 9, count=2)
    shards.close()
    journal = tmp_path / outputs.JOURNAL
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([*lines[:3], lines[3][:20] + "\n", lines[4]]))
    (tmp_path / "1.npz").write_bytes(b"\1" * 8 + b"\2")
    with outputs.Shards(str(tmp_path)) as again:
        assert again.job == JOB and sorted(again.done) == [0] and not again.finished
        again.start(JOB)
    assert [json.loads(line) for line in journal.read_text().splitlines()] == [JOB, again.done[0]]


def test_one_process_at_a_time(tmp_path):
    with outputs.Shards(str(tmp_path)):
        with pytest.raises(ValueError, match="is being written by another process"):
            outputs.Shards(str(tmp_path))
    outputs.Shards(str(tmp_path)).close()


def test_a_finished_folder_has_a_manifest_and_no_journal(tmp_path):
    manifest = written(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "s.npz"]
    with outputs.Shards(str(tmp_path)) as shards:
        assert shards.finished and shards.job == JOB and shards.manifest() == manifest
        assert manifest == {**JOB, "count": 2, "shards": [shards.done[0]]}
