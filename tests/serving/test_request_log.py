"""The request log: what is in its files, which files there are, and what it does when it cannot write."""

import os
import threading
import weakref

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from serving import request_log
from serving.calls import Answered
from serving.config import Logging, ModelConfig
from serving.request_log import PAUSE_SECONDS, RequestLog
from serving.server import Server
from serving.status import not_found
from tests.serving.toys import Toy, png, until
from tests.serving.wire import NF, X, refused, request


def records(folder):
    """[PredictionLog] of all complete files, in the order of their names."""
    files = sorted(str(path) for path in folder.glob("*.tfrecord"))
    return [prediction_log_pb2.PredictionLog.FromString(record)
            for file in files for record in tf.data.TFRecordDataset(file).as_numpy_iterator()]  # fmt: skip


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def answered(number=0, size=0, **words):
    response = predict_pb2.PredictResponse()
    response.model_spec.name = "m"
    response.model_spec.version.value = 3
    return Answered("Predict", "GRPC", request({"x": [float(number)], "filler": b"." * size}, model="m"),
                    **{"response": response, **words})  # fmt: skip


def numbers(folder):
    return [log.predict_log.request.inputs["x"].float_val[0] for log in records(folder)]


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


def log_of(folder, rate=1.0, **words):
    return RequestLog(lambda name: ModelConfig(name, "/m", logging=Logging(f"{folder}/asked", rate)), **words)


def test_a_server_logs_what_it_was_asked_and_answered(tmp_path):
    Toy(2.0).save(tmp_path / "toy" / "4", "serving_default", "embed", "two")
    Toy(2.0).save(tmp_path / "quiet" / "1", "serving_default")
    logs = tmp_path / "made" / "logs"
    models = [ModelConfig("toy", str(tmp_path / "toy"), logging=Logging(f"{logs}/asked", 1.0)),
              ModelConfig("quiet", str(tmp_path / "quiet"))]  # fmt: skip
    with Server(models, port=0, load_retries=0) as server, grpc.insecure_channel(server.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        images = [png(255, 0, 0), png(0, 9, 0)]
        answer = stub.Predict(request({"image_bytes": images}, signature="embed"), timeout=20)
        stub.Predict(request({"x": X}, model="quiet"), timeout=20)
        refused(stub.Predict, request({"x": X}, signature="two"))
        stub.Predict(request({"x": X}), timeout=20)
        assert not list(logs.glob("*.tfrecord")), "a file appears once it is complete"
    first, second = records(logs)
    assert first.predict_log.response == answer
    assert list(first.predict_log.request.inputs["image_bytes"].string_val) == images
    spec = first.log_metadata.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("toy", 4, "embed")
    assert first.log_metadata.sampling_config.sampling_rate == 1.0
    assert abs(first.log_metadata.timestamp_secs - os.stat(logs).st_mtime) < 60
    assert list(first.log_metadata.saved_model_tags) == ["serve"]
    assert second.log_metadata.model_spec.signature_name == "serving_default"
    (name,) = names(logs)
    assert name.startswith("asked-") and name.endswith("-000001.tfrecord")


def test_a_reload_changes_what_is_logged_but_not_to_where(tmp_path):
    Toy(2.0).save(tmp_path / "toy" / "1", "serving_default")
    before = [ModelConfig("toy", str(tmp_path / "toy"), logging=Logging(f"{tmp_path}/logs/asked", 0.0))]
    with Server(before, port=0, load_retries=0) as server, grpc.insecure_channel(server.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        reload = model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest

        def config(kind="tfrecord", prefix=f"{tmp_path}/logs/asked", rate=None):
            message = model_management_pb2.ReloadConfigRequest()
            model = message.config.model_config_list.config.add(
                name="toy", base_path=str(tmp_path / "toy"), model_platform="tensorflow")  # fmt: skip
            if rate is not None:
                model.logging_config.log_collector_config.type = kind
                model.logging_config.log_collector_config.filename_prefix = prefix
                model.logging_config.sampling_config.sampling_rate = rate
            return message

        assert refused(reload, config("kafka", rate=1.0)) == (NF, "Cannot find LogCollector::Factory for type: kafka")
        code, text = refused(reload, config(prefix=f"{tmp_path}/elsewhere/asked", rate=1.0))
        assert code == grpc.StatusCode.PERMISSION_DENIED and "elsewhere/asked, where no log has been yet" in text
        stub.Predict(request({"x": X}), timeout=20)
        reload(config(), timeout=20)
        stub.Predict(request({"x": X}), timeout=20)
        reload(config(rate=1.0), timeout=20)
        stub.Predict(request({"x": [7.0]}), timeout=20)
    (log,) = records(tmp_path / "logs")
    assert list(log.predict_log.request.inputs["x"].float_val) == [7.0]


def test_requests_are_drawn_evenly(tmp_path):
    draws = iter(np.random.default_rng(0).random(900))
    log = log_of(tmp_path, 0.25, draw=lambda: next(draws))
    for number in range(900):
        log(answered(number))
    log.close()
    assert numbers(tmp_path) == np.flatnonzero(np.random.default_rng(0).random(900) < 0.25).tolist()
    assert log.counts() == {("m", "OK"): len(numbers(tmp_path))}


def test_what_is_not_to_be_logged_starts_nothing(tmp_path):
    log = log_of(tmp_path, 0.0)
    log(answered())
    RequestLog(lambda name: None)(answered())
    failing = log_of(tmp_path)
    failing(answered(response=None, error=not_found("no")))
    for one in (log, failing):
        one.close()
        assert one.counts() == {}
    assert names(tmp_path) == []


def test_files_are_cut_by_size_and_the_oldest_go(tmp_path):
    (tmp_path / "asked-notes.tfrecord").write_bytes(b"." * 9000)  # not one of its own
    log = log_of(tmp_path, file_bytes=2000, total_bytes=7000)
    for number in range(30):
        log(answered(number, size=900))
    log.close()
    own = sorted(tmp_path.glob("asked-2*.tfrecord"))
    assert [path.name[-15:-9] for path in own] == ["000013", "000014", "000015"]
    assert sum(path.stat().st_size for path in own) <= 7000
    (tmp_path / "asked-notes.tfrecord").unlink()
    assert numbers(tmp_path) == list(range(24, 30))
    assert not list(tmp_path.glob(".*"))


def test_files_are_cut_by_age_without_another_request(tmp_path):
    clock = Clock()
    log = log_of(tmp_path, file_seconds=0.05, clock=clock)
    log(answered(1))
    assert until(lambda: log.counts() == {("m", "OK"): 1})
    assert not list(tmp_path.glob("*.tfrecord"))
    clock.seconds = 0.06
    assert until(lambda: list(tmp_path.glob("*.tfrecord"))) and numbers(tmp_path) == [1]
    log.close()


def test_what_a_killed_server_left_gets_its_name_but_not_what_another_one_writes(tmp_path):
    running = log_of(tmp_path)
    running(answered(1))
    assert until(lambda: running.counts())
    (hidden,) = names(tmp_path)
    left = tmp_path / ".asked-20260101T000000-7-000002.tfrecord.part"
    left.write_bytes((tmp_path / hidden).read_bytes() + b"cut")
    (tmp_path / ".asked-x.part").write_text("not one of its own")
    log = log_of(tmp_path)
    log(answered(2))
    assert until(lambda: log.counts())
    assert left.name[1:-5] in names(tmp_path) and hidden in names(tmp_path) and ".asked-x.part" in names(tmp_path)
    log.close()
    running.close()
    assert not left.exists()


def held(monkeypatch):
    """An event without which nothing is written, and one that says that it waits."""
    go, begun = threading.Event(), threading.Event()
    write = request_log._Files.write

    def wait(files, record):
        begun.set()
        assert go.wait(20)
        return write(files, record)

    monkeypatch.setattr(request_log._Files, "write", wait)
    return go, begun


@pytest.mark.parametrize("limit, value", [("WAITING_REQUESTS", 5), ("WAITING_BYTES", 5500)])
def test_more_than_can_be_written_is_dropped_and_no_request_waits(tmp_path, monkeypatch, limit, value):
    monkeypatch.setattr(request_log, limit, value)
    go, begun = held(monkeypatch)
    log = log_of(tmp_path)
    log(answered(0))
    assert begun.wait(20)
    for number in range(1, 100):
        log(answered(number, size=1000))  # would never end if it waited
    go.set()
    log.close()
    assert log.counts() == {("m", "OK"): 6, ("m", "RESOURCE_EXHAUSTED"): 94}
    assert numbers(tmp_path) == list(range(6))


def test_a_version_that_is_unloaded_does_not_wait_for_a_slow_disk(tmp_path, monkeypatch):
    go, begun = held(monkeypatch)
    log, servables = log_of(tmp_path), [Clock(), Clock()]  # of any class
    for number, servable in enumerate(servables):
        log(answered(number, servable=servable))
        assert begun.wait(20)
    gone = [weakref.ref(servable) for servable in servables]
    del servable
    servables.clear()
    assert [reference() for reference in gone] == [None, None]
    go.set()
    log.close()
    assert numbers(tmp_path) == [0, 1]


def test_a_full_disk_is_told_once_and_pauses_the_log(tmp_path, monkeypatch):
    told, full, writer = [], [], tf.io.TFRecordWriter

    class Disk(writer):
        def write(self, record):
            if full:
                raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")
            super().write(record)

    for level in ("warning", "info"):
        monkeypatch.setattr(request_log.logging, level, lambda text, *words: told.append(text % words))
    monkeypatch.setattr(tf.io, "TFRecordWriter", Disk)
    clock = Clock()
    log = log_of(tmp_path, clock=clock)

    def ask(number, seconds):
        clock.seconds = seconds
        before = sum(log.counts().values())
        log(answered(number))
        assert until(lambda: sum(log.counts().values()) > before)

    ask(0, 0.0)
    full.append(True)
    ask(1, 1.0)
    ask(2, PAUSE_SECONDS)
    ask(3, PAUSE_SECONDS + 2)  # tried again
    full.clear()
    ask(4, PAUSE_SECONDS + 3)  # still paused
    assert len(told) == 1 and told[0].startswith(f"The request log {tmp_path}/asked cannot be written (No space left")
    ask(5, 2 * PAUSE_SECONDS + 3)
    ask(6, 2 * PAUSE_SECONDS + 4)
    log.close()
    assert told[1:] == [f"The request log {tmp_path}/asked goes on."]
    assert numbers(tmp_path) == [0, 5, 6]
    assert log.counts() == {("m", "OK"): 3, ("m", "UNAVAILABLE"): 4}
    assert not list(tmp_path.glob(".*"))


def test_a_folder_that_cannot_be_made_is_told_and_requests_are_answered(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(request_log.logging, "warning", lambda text, *words: told.append(text % words))
    (tmp_path / "file").write_text("")
    log = log_of(tmp_path / "file" / "logs")
    for number in range(3):
        log(answered(number))
    log.close()
    assert len(told) == 1 and "cannot be written (Not a directory) and pauses" in told[0]
    assert log.counts() == {("m", "UNAVAILABLE"): 3}


def test_a_fault_of_the_log_fails_no_request(monkeypatch):
    told = []
    monkeypatch.setattr(request_log.logging, "exception", told.append)
    log = RequestLog(lambda name: "no config")
    for _ in range(3):
        log(answered())
    assert len(told) == 1
