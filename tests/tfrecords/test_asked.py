"""The request log unpacked into files and tables."""

import csv

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrecords.here import run_here
from tests.tfrecords.logged import WHEN, asked, png, with_examples, written
from tfrecords import asked as command
from tfrecords.asked import unpack
from tfrecords.read import Records
from tfrecords.sources.csv import CsvSource
from tfrecords.sources.prediction_log import PredictionLogSource
from tfrecords.write import write


def answered(inputs, outputs, model="diagnosis", signature="classify", seconds=WHEN):
    log = asked(inputs, seconds)
    spec = log.log_metadata.model_spec
    spec.name, spec.signature_name, spec.version.value = model, signature, 3
    for name, value in outputs.items():
        log.predict_log.response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
    return log


def rows_of(file):
    with open(file, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def log(tmp_path):
    jpeg = tf.io.encode_jpeg(np.zeros([8, 8, 3], np.uint8)).numpy()
    example = with_examples("classify", png(7))
    one = example.classify_log.response.result.classifications.add()
    for label, score in (("b", 0.25), ("a", 0.75)):
        one.classes.add(label=label, score=score)
    return written(
        tmp_path / "asked-1.tfrecord",
        answered({"image_bytes": [png(1), b"none", jpeg]},
                 {"label": ["cat", "dog", "é,\"x\""], "abstain": [True, False, False], "threshold": np.float32(0.5),
                  "probabilities": np.float32([[0.25, 0.75], [1, 0], [0.5, 0.5]]), "map": np.zeros((3, 2, 2))}),
        answered({"image_bytes_1": [png(1), png(3)], "image_bytes_2": [png(4), png(5)]}, {"score": [0.5, 0.25]},
                 "verification", "verify", WHEN + 61),
        example)


def test_images_answers_and_a_table_to_fill_in(log, tmp_path):
    assert unpack(PredictionLogSource(log), tmp_path / "out") == (6, 1)
    answers, stem = rows_of(tmp_path / "out/answers.csv"), "images/asked-1/20251201T12"
    assert [row["path"] for row in answers] == [
        f"{stem}0000Z-000000-0.png", f"{stem}0000Z-000000-2.jpg", f"{stem}0101Z-000001-1.png",
        f"{stem}0101Z-000001-2.png", f"{stem}0101Z-000001-3.png", "images/asked-1/19700101T000000Z-000002-0.png"]
    assert answers[0] == {
        "path": answers[0]["path"], "time": "2025-12-01 12:00:00", "model": "diagnosis", "version": "3",
        "signature": "classify", "abstain": "True", "confidence": "0.75", "label": "cat", "score": ""}
    assert answers[1]["label"] == "é,\"x\"" and answers[1]["confidence"] == "0.5"
    # Both images of a pair have the answer to the pair.
    assert [row["score"] for row in answers[2:5]] == ["0.25", "0.5", "0.25"]
    assert (answers[5]["label"], answers[5]["confidence"]) == ("a", "0.75")
    labels = rows_of(tmp_path / "out/labels.csv")
    assert labels == [{"path": row["path"], "label": ""} for row in answers]
    for row, number in zip(labels[2:5], (3, 4, 5)):
        assert (tmp_path / "out" / row["path"]).read_bytes() == png(number)


def test_the_filled_table_becomes_records(log, tmp_path):
    unpack(PredictionLogSource(log), tmp_path / "out")
    table = tmp_path / "out/labels.csv"
    table.write_text(table.read_text().replace(".png,", ".png,healthy", 1))
    write([CsvSource(table)], tmp_path / "data")
    records = Records(tmp_path / "data")
    assert records.names("label") == ["healthy"] and records.column("label").tolist() == [0, -1, -1, -1, -1, -1]


def test_the_command(log, tmp_path, capsys):
    code, out, error = run_here(command, capsys, f"--log={log}", f"--out={tmp_path}/out")
    assert (code, error) == (0, "") and out.startswith(
        f"6 images of 3 requests at {tmp_path}/out (1 came before, 1 of another form left out)\nnext: fill in ")
    code, _, error = run_here(command, capsys, f"--log={log}", f"--out={tmp_path}/out")
    assert (code, error) == (1, f"error: `--out` is {tmp_path}/out but that is there already; name a new folder.\n")


def test_nothing_is_left_of_what_fails(log, tmp_path, monkeypatch):
    source = PredictionLogSource(log)
    monkeypatch.setattr("tfrecords.asked._write", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        unpack(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [log.name]


def test_a_tensor_that_declares_too_much_is_passed_over(tmp_path):
    log = answered({"image_bytes": [png(1)]}, {})
    huge = log.predict_log.response.outputs["probabilities"]
    huge.dtype = tf.float32.as_datatype_enum
    huge.float_val.append(1.0)
    for size in (1, 2**40):
        huge.tensor_shape.dim.add(size=size)
    unpack(PredictionLogSource(written(tmp_path / "a.tfrecord", log)), tmp_path / "out")
    (row,) = rows_of(tmp_path / "out/answers.csv")
    assert "confidence" not in row
