"""One loaded version: warm-up, tags, what other tools saved."""

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving import servable, status
from tests.serving.toys import Toy
from tests.serving.wire import IA, NF, X, request


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("servable") / "1"
    Toy(1.0).save(folder, "serving_default")
    return folder


def warmup_file(folder, records):
    (folder / "assets.extra").mkdir(exist_ok=True)
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path


def test_warmup(folder, monkeypatch):
    assert servable.WARMUP_RECORDS == 1000
    monkeypatch.setattr(servable, "WARMUP_RECORDS", 5)  # a thousand calls tell no more
    loaded = servable.Servable(str(folder))
    assert loaded.warm_up() == 0
    good = prediction_log_pb2.PredictionLog()
    good.predict_log.request.CopyFrom(request({"x": X}))
    good = good.SerializeToString()
    for records, code, text in (
        ([good] * 5, None, 5),
        ([], None, 0),
        ([good] * 6, IA, "exceeds the maximum"),
        ([good, b"\xff\xff"], IA, "Failed to parse warmup record"),
        ([b""], grpc.StatusCode.UNIMPLEMENTED, "Unsupported log_type for warmup"),
    ):
        path = warmup_file(folder, records)
        if code is None:
            assert loaded.warm_up() == text
            continue
        with pytest.raises(status.StatusError, match=text) as caught:
            loaded.warm_up()
        assert caught.value.code == code
    path.write_bytes(b"this is no TFRecord file at all")
    with pytest.raises(status.StatusError, match="Please verify your warmup data is in TFRecord format"):
        loaded.warm_up()


def test_tags(folder):
    with pytest.raises(status.StatusError, match="matching supplied tags: { train }") as caught:
        servable.Servable(str(folder), ("train",))
    assert caught.value.code == NF
