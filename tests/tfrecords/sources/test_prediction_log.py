"""Images out of a server's request log."""

import struct

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tests.tfrecords.logged import WHEN, asked, png, with_examples, written
from tests.tfrecords.sources.contract import check
from tfrecords.read import Records
from tfrecords.sources import prediction_log
from tfrecords.sources.prediction_log import PredictionLogSource
from tfrecords.write import named_source, report, write


def test_every_image_once_in_order(tmp_path):
    written(tmp_path / "asked-2.tfrecord", asked({"image_bytes": [png(6), png(1)]}, WHEN + 60))
    written(tmp_path / "asked-1.tfrecord",
            asked({"image_bytes": [png(1), png(2)], "landmarks": np.zeros((2, 5, 2), np.float32)}),
            asked({"image_bytes_2": [png(4)], "image_bytes_1": [png(3)]}),
            asked({"image_tensor": np.zeros((1, 2, 2, 3), np.float32), "text": [b"no image"]}),
            asked({"image_bytes": [png(2), b"", png(5)]}, WHEN + 1))
    (tmp_path / "notes.txt").write_text("no log")
    (tmp_path / ".asked-3.tfrecord").write_text("no log")
    items = check(source := PredictionLogSource(tmp_path))
    assert [item.path for item in items] == [
        "asked-1/20251201T120000Z-000000-0", "asked-1/20251201T120000Z-000000-1", "asked-1/20251201T120000Z-000001-0",
        "asked-1/20251201T120000Z-000001-1", "asked-1/20251201T120001Z-000003-2", "asked-2/20251201T120100Z-000000-0"]
    assert [item.read() for item in items] == [png(1), png(2), png(3), png(4), png(5), png(6)]
    assert all(item.columns == {} for item in items)
    assert source.ignored == 3
    assert source.description == {"source": "prediction_log", "location": tmp_path.name, "requests": 5, "repeated": 3}
    assert [item.path for item in source.between(2, 4)] == [item.path for item in items[2:4]]


def test_images_in_examples(tmp_path):
    file = written(tmp_path / "a.tfrecord", with_examples("classify", png(1), b"", png(2)),
                   with_examples("regress", png(3)), with_examples("multi_inference", png(4)),
                   prediction_log_pb2.PredictionLog(session_run_log={}), with_examples("classify"))
    items = check(source := PredictionLogSource(file))
    assert [item.read() for item in items] == [png(1), png(2), png(3), png(4)]
    assert source.description["requests"] == 4


def test_files_by_pattern_and_list(tmp_path):
    for name in ("one/a", "two/a", "two/b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        written(tmp_path / f"{name}.tfrecord", asked({"image_bytes": [png(len(list(tmp_path.rglob("*"))))]}))
    by_pattern = [item.path for item in check(PredictionLogSource(f"{tmp_path}/*/*.tfrecord"))]
    assert [path.partition("/")[0] for path in by_pattern] == ["a", "a#2", "b"]
    two = named_source(f"prediction_log:{tmp_path}/one/a.tfrecord,{tmp_path}/two")
    assert [item.path for item in check(two)] == by_pattern


def test_they_become_records_that_can_be_trained_on(tmp_path):
    written(tmp_path / "asked-1.tfrecord", asked({"image_bytes": [png(1), b"no image", png(2), png(1)]}))
    manifest = write([named_source(f"prediction_log:{tmp_path}")], tmp_path / "data", most_skipped=0.5)
    assert manifest["count"] == 2 and manifest["skipped"]["count"] == 1
    assert manifest["skipped"]["unreadable"][0]["path"] == "asked-1/20251201T120000Z-000000-1"
    assert Records(tmp_path / "data").images([0, 1]) == [png(1), png(2)]
    said = "\n".join(report(manifest, tmp_path / "data"))
    assert "repeated         1 images that came before" in said and "left out" not in said


@pytest.mark.parametrize("left", [7, 30, -5, -3])  # bytes of the second record: within its head, data, foot
def test_a_file_that_ends_within_a_record_is_read_up_to_there(tmp_path, left):
    first = asked({"image_bytes": [png(1)]})
    file = written(tmp_path / "a.tfrecord", first, asked({"image_bytes": [png(2)]}))
    whole, end = file.read_bytes(), first.ByteSize() + 16
    file.write_bytes(whole[:left] if left < 0 else whole[:end + left])
    assert [item.read() for item in check(PredictionLogSource(file))] == [png(1)]


def test_damaged_and_other_files_are_refused(tmp_path):
    file = written(tmp_path / "a.tfrecord", asked({"image_bytes": [png(1)]}))
    whole = file.read_bytes()
    file.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    with pytest.raises(ValueError, match="a.tfrecord` is damaged at byte 0, or no file of TFRecords"):
        PredictionLogSource(file)
    file.write_bytes(b"text of some other kind that is long enough")
    with pytest.raises(ValueError, match="is damaged at byte 0"):
        PredictionLogSource(file)
    for record in (b"\xff\xff no message", tf.train.Example().SerializeToString(), b""):
        written(file, asked({"image_bytes": [png(1)]}), record)
        with pytest.raises(ValueError, match=rf"at byte {len(whole) + 12:,}, is no request of a PredictionLog"):
            PredictionLogSource(file)


def test_a_length_that_claims_too_much_is_refused_before_it_is_read(tmp_path):
    file = tmp_path / "a.tfrecord"
    head = struct.pack("<Q", 2**40)
    file.write_bytes(head + struct.pack("<I", prediction_log._masked(prediction_log._crc(head))) + b"." * 100)
    with pytest.raises(ValueError, match=r"a record .* has 1,099,511,627,776 bytes but may have 268,435,456; remove"):
        PredictionLogSource(file)


def test_checksums_are_those_of_tensorflow(tmp_path):
    for size in (0, 1, 300, 70_000):
        head = written(tmp_path / "a.tfrecord", b"." * size).read_bytes()[:12]
        assert struct.unpack("<QI", head) == (size, prediction_log._masked(prediction_log._crc(head[:8])))


def test_any_time_has_a_name(tmp_path):
    file = written(tmp_path / "a.tfrecord", *(asked({"image_bytes": [png(number)]}, seconds)
                                             for number, seconds in enumerate((-5, 2**62))))
    assert [item.path for item in PredictionLogSource(file)] == [
        "a/19700101T000000Z-000000-0", "a/22420316T125632Z-000001-0"]


def test_nothing_there_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no file \*.tfrecord; give the files of a server's request log"):
        PredictionLogSource(tmp_path)
    with pytest.raises(FileNotFoundError, match="none.tfrecord` holds no file"):
        PredictionLogSource(tmp_path / "none.tfrecord")
    file = written(tmp_path / "a.tfrecord", asked({"x": [1.0]}))
    with pytest.raises(ValueError, match="holds 1 requests but no encoded image"):
        PredictionLogSource(file)


def test_a_file_that_has_changed_since_is_told(tmp_path):
    file = written(tmp_path / "a.tfrecord", asked({"image_bytes": [png(1)]}))
    (item,) = PredictionLogSource(file)
    written(file, asked({"image_bytes": [png(2)]}))
    with pytest.raises(OSError, match="has changed since it was listed"):
        item.read()
    file.unlink()
    with pytest.raises(OSError):
        item.read()
