"""Warm-up requests that a version brings along: items 48 to 53."""

import shutil

import pytest
from tensorflow_serving.apis import classification_pb2, inference_pb2, model_pb2, regression_pb2, session_service_pb2

from tests.serving.conformance.models import CLASSIFY, REGRESS, log_of, warmup_file
from tests.serving.toys import until
from tests.serving.wire import X, appear, examples, request, states

AVAILABLE, END = 30, 50
GOOD = log_of("predict", request({"x": X}, model="warm"))


@pytest.fixture
def load(folders, models):
    """load(records, source) -> the status of a new version of `warm` with these warm-up requests."""

    def add(records, source="moving/1"):
        number = 1 + max(int(path.name) for path in (folders / "warm").iterdir() if path.name.isdigit())

        def build(path):
            shutil.copytree(folders / source, path)
            if records is not None:
                warmup_file(path, records)

        appear(folders / "warm", number, build)

        def ended():
            status = states(models, "warm").get(number)
            return status if status is not None and status.state in (AVAILABLE, END) else None

        status = until(ended)
        assert status is not None, f"version {number} is neither available nor ended"
        return status

    return add


@pytest.mark.parametrize("records", [None, [], b""])
def test_48_no_file_and_an_empty_one(load, records):
    assert load(records).state == AVAILABLE


def test_48_requests_of_every_kind_are_replayed(load):
    spec = {"name": "half", "signature_name": "classify_x"}
    given = examples(2.0)
    multi = inference_pb2.MultiInferenceRequest(input=given)
    multi.tasks.add(model_spec=model_pb2.ModelSpec(name="half", signature_name="regress_x"), method_name=REGRESS)
    multi.tasks.add(model_spec=model_pb2.ModelSpec(**spec), method_name=CLASSIFY)
    records = [
        log_of("predict", request({"x": X}, model="half")),
        log_of("classify", classification_pb2.ClassificationRequest(model_spec=spec, input=given)),
        log_of("regress", regression_pb2.RegressionRequest(model_spec=multi.tasks[0].model_spec, input=given)),
        log_of("multi_inference", multi),
    ]
    assert load(records, "half/123").state == AVAILABLE


def failed(status, code, text):
    """Where retries are off, as in a server of our own; else END comes after the last of them."""
    assert status.state == END
    assert status.status.error_code == code and text in status.status.error_message


def test_49_no_tfrecord_file(load):
    text = "Please verify your warmup data is in TFRecord format."
    failed(load(b"this is no TFRecord file at all"), 15, text)


def test_50_too_many_requests(load):
    assert load([GOOD] * 1000).state == AVAILABLE
    failed(load([GOOD] * 1001), 3, "Number of warmup records exceeds the maximum (1000)")


def test_51_unparsable_request(load):
    failed(load([GOOD, b"\xff\xff"]), 3, "Failed to parse warmup record")


def test_52_failing_request_fails_the_load(load, stub):
    bad = log_of("predict", request({"wrong": X}, model="warm"))
    failed(load([GOOD, bad]), 3, "input tensor alias not found in signature: wrong")
    assert stub.Predict(request({"x": X}, model="warm")).outputs["y"].float_val  # the version before it serves


def test_53_session_run_is_not_replayed(load):
    failed(load([log_of("session_run", session_service_pb2.SessionRunRequest())]), 12, "Unsupported log_type")
