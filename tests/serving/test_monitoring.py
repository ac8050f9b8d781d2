"""The metrics page: TF Serving's names, bounded labels, and what belongs to a version."""

import json
import urllib.request

import grpc
import numpy as np
import pytest
import tensorflow as tf
from prometheus_client.parser import text_string_to_metric_families
from tensorflow_serving.apis import (
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

from saved_models.baseline import FILE, baseline
from serving import monitoring, server
from serving.batching import Batching
from serving.calls import Answered
from serving.config import ModelConfig
from serving.monitoring import MOST_PATHS, PATH, UNKNOWN, Monitor, page_path
from serving.server import Server
from serving.status import not_found
from tests.serving.toys import Diagnoser, Toy, png, until
from tests.serving.wire import X, appear, refused, request
from tests.tfrecords.here import run_here


def read(url):
    """{name with labels in order: value}, {name: type} of a page."""
    with urllib.request.urlopen(url, timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return parsed(answer.read().decode())


def parsed(text):
    families = list(text_string_to_metric_families(text))  # that Prometheus could read it
    kinds = {family.name: family.type for family in families}
    assert sum(len(family.samples) for family in families) == len(
        [line for line in text.splitlines() if not line.startswith("#")])  # fmt: skip
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}, kinds


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """toy: version 1; diagnoses: version 1 with what `classify` answered on grey images; batching; a metrics page."""
    folder = tmp_path_factory.mktemp("monitored")
    Toy(2.0).save(folder / "toy" / "1", "serving_default", "two", "embed", "slow")
    Diagnoser().save(folder / "diagnoses" / "1")
    greys = np.random.default_rng(0).uniform(0.2, 0.4, (100, 4))

    def classify(values):
        odds = np.asarray(values, np.float32)
        return {"probabilities": tf.constant(odds / odds.sum(1, keepdims=True)), "abstain": tf.constant(odds[:, 0] < 0)}

    stored = baseline({"classify": {"function": classify, "images": 1}}, 100, lambda places: greys[places])
    (folder / "diagnoses" / "1" / "assets" / FILE).write_text(json.dumps(stored))
    models = [ModelConfig(name, str(folder / name)) for name in ("toy", "diagnoses")]
    with Server(models, port=0, rest_port=0, poll_seconds=0.05, load_retries=0, monitoring_path=PATH,
                batching=Batching(max_batch_size=8)) as running:  # fmt: skip
        running.folder, running.page = folder, f"http://127.0.0.1:{running.rest_port}{PATH}"
        with grpc.insecure_channel(running.address) as channel:
            running.stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            running.models = model_service_pb2_grpc.ModelServiceStub(channel)
            yield running


def test_59_the_page_has_tf_servings_names(running):
    running.stub.Predict(request({"x": X}), timeout=20)
    body = json.dumps({"instances": [2.0]}).encode()
    url = f"http://127.0.0.1:{running.rest_port}/v1/models/toy:predict"
    urllib.request.urlopen(urllib.request.Request(url, body), timeout=20).read()
    refused(running.stub.Predict, request({"x": X}, version=9))
    values, kinds = read(running.page)
    name = ":tensorflow:serving:"
    assert values[f'{name}request_count{{model_name="toy",status="OK"}}'] == 2
    assert values[f'{name}request_count{{model_name="toy",status="NOT_FOUND"}}'] == 1
    assert kinds[f"{name}request_count"] == "counter"
    for entrypoint in ("GRPC", "REST"):
        labels = f'model_name="toy",API="Predict",entrypoint="{entrypoint}"'
        assert values[f"{name}request_latency_count{{{labels}}}"] == 1
        assert values[f'{name}request_latency_bucket{{{labels},le="10.0"}}'] == 0
        assert values[f'{name}request_latency_bucket{{{labels},le="+Inf"}}'] == 1
        assert 10 < values[f"{name}request_latency_sum{{{labels}}}"] < 20e6  # microseconds
    runtime = 'model_name="toy",API="Predict",runtime="TF2"'
    assert values[f"{name}runtime_latency_count{{{runtime}}}"] == 2
    assert values[f"{name}runtime_latency_sum{{{runtime}}}"] < sum(
        values[f'{name}request_latency_sum{{model_name="toy",API="Predict",entrypoint="{one}"}}']
        for one in ("GRPC", "REST"))  # fmt: skip
    path = f'model_path="{running.folder}/toy/1"'
    assert values[f':tensorflow:cc:saved_model:load_attempt_count{{{path},status="success"}}'] == 1
    assert 1e3 < values[f":tensorflow:cc:saved_model:load_latency{{{path}}}"] < 60e6
    assert values['few_label_images_loaded_versions{model_name="toy",version="1"}'] == 1
    assert values["few_label_images_queue_depth"] == 0 and values["few_label_images_open_requests"] >= 1


def test_the_page_tells_of_batches(running):
    before, _ = read(running.page)
    running.stub.Predict(request({"x": np.float32([1, 2, 3])}), timeout=20)
    after, _ = read(running.page)
    name = ":tensorflow:serving:batching_session:"
    for what, rows in (("input_batch_size", 3), ("processed_batch_size", 3), ("padding_size", 0)):
        assert after[f"{name}{what}_sum"] - before.get(f"{name}{what}_sum", 0) == rows
    waited = f'{name}queuing_latency_count{{thread_pool_name="batch_threads"}}'
    assert after[waited] - before.get(waited, 0) == 1


def test_open_requests_are_those_worked_on(running, tmp_path):
    file = tmp_path / "go"
    slow = running.stub.Predict.future(request({"file": str(file)}, signature="slow"), timeout=60)
    try:
        assert until((tmp_path / "go.begun").exists)
        values, _ = read(running.page)
        assert values["few_label_images_open_requests"] == 2  # it and the page
    finally:
        file.touch()
    slow.result()


def test_names_of_clients_make_no_labels(running):
    for name in ("a", "b", 'c"\n', "toys"):
        refused(running.stub.Predict, request({"x": X}, model=name))
    refused(running.stub.Predict, predict_pb2.PredictRequest())
    refused(running.stub.MultiInference, inference_pb2.MultiInferenceRequest())
    values, _ = read(running.page)
    assert values[f':tensorflow:serving:request_count{{model_name="{UNKNOWN}",status="NOT_FOUND"}}'] == 4
    names = {name.split('"')[1] for name in values if name.startswith(":tensorflow:serving:request_count")}
    assert names <= {"toy", "diagnoses", UNKNOWN}


def test_answers_are_compared_with_those_at_export(running, monkeypatch):
    told = []
    monkeypatch.setattr(monitoring.logging, "warning", lambda text, *words: told.append(text % words))
    labels = 'model_name="diagnoses",version="1",signature="classify",figure="'
    red = [png(255, 0, 0)] * 32
    running.stub.Predict(request({"image_bytes": red[:8]}, model="diagnoses", signature="serving_default"), timeout=20)
    values, _ = read(running.page)
    confident = f'few_label_images_answers_bucket{{{labels}confidence"'
    assert values[f'{confident},le="0.8"}}'] == 0 and values[f'{confident},le="0.85"}}'] == 8
    assert values[f'few_label_images_share{{{labels}confidence",share="outside"}}'] == 1.0
    assert values[f'few_label_images_drift{{{labels}confidence",share="outside"}}'] == 0 and not told
    for _ in range(31):
        running.stub.Predict(request({"image_bytes": red[:8]}, model="diagnoses", signature="classify"), timeout=20)
    values, kinds = read(running.page)
    assert values[f'few_label_images_drift{{{labels}confidence",share="outside"}}'] == 1
    assert 0 < values[f'few_label_images_stored_share{{{labels}confidence",share="outside"}}'] < 0.1
    assert values[f'few_label_images_flag_rows{{{labels}abstain"}}'] == 256
    assert values[f'few_label_images_flagged_rows{{{labels}abstain"}}'] == 0
    assert kinds["few_label_images_answers"] == "histogram"
    outside = [line for line in told if "confidence outside" in line]
    assert len(outside) == 1 and outside[0].startswith("Model diagnoses version 1, signature classify: confidence")


def test_a_version_takes_its_metrics_with_it(running):
    appear(running.folder / "diagnoses", 2, Diagnoser().save)
    assert until(lambda: 'loaded_versions{model_name="diagnoses",version="2"}' in _text(running.page)
                 and 'model_name="diagnoses",version="1"' not in _text(running.page))  # fmt: skip


def _text(url):
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read().decode()


def test_a_version_that_cannot_be_loaded_is_counted(running):
    broken = running.folder / "toy" / "5"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"\xff")
    line = f':tensorflow:cc:saved_model:load_attempt_count{{model_path="{broken}",status="fail"}} 1.0'
    assert until(lambda: line in _text(running.page))
    assert f'load_latency{{model_path="{broken}"' not in _text(running.page)


def test_damaged_stored_answers_are_told_and_the_version_serves(running, monkeypatch):
    told = []
    monkeypatch.setattr(monitoring.logging, "warning", lambda text, *words: told.append(text % words))

    def build(path):
        Toy(4.0).save(path, "serving_default")
        (path / "assets" / FILE).write_text("{")

    appear(running.folder / "toy", 7, build)
    assert until(lambda: 'loaded_versions{model_name="toy",version="7"}' in _text(running.page))
    assert len(told) == 1 and "Model toy version 7 is not compared with its export:" in told[0]
    assert running.stub.Predict(request({"x": X}), timeout=20).model_spec.version.value == 7


def test_a_model_that_comes_and_goes_is_watched_as_well(running):
    config = model_server_config_pb2.ModelServerConfig()
    for name in ("toy", "diagnoses", "toys"):
        config.model_config_list.config.add(
            name=name, base_path=str(running.folder / name.removesuffix("s").replace("diagnose", "diagnoses")),
            model_platform="tensorflow")  # fmt: skip
    running.models.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest(config=config), timeout=30)
    running.stub.Predict(request({"x": X}, model="toys"), timeout=20)
    values, _ = read(running.page)
    assert values[':tensorflow:serving:request_count{model_name="toys",status="OK"}'] == 1


# ---- without a server


class Models:
    """As much of a Manager as a Monitor asks."""

    watch = None

    def config(self, name):
        return name if name.startswith("m") else None

    def loaded(self):
        return []


def answered(name="m", version=1, **words):
    return Answered("Predict", "GRPC", request({}, model=name), version=version, **words)


def test_models_that_were_are_bounded(monkeypatch):
    monkeypatch.setattr(monitoring, "MOST_NAMES", 3)
    monitor = Monitor(Models())
    for number in range(10):
        for _ in range(2):
            monitor(answered(f"m{number}", response=object(), seconds=0.01))
        monitor(answered(f"m{number}", error=not_found("no version")))
    values, _ = parsed(monitor.page()[1].decode())
    counts = {name: value for name, value in values.items() if name.startswith(":tensorflow:serving:request_count{")}
    assert sum(counts.values()) == 30 and len(counts) == 8
    assert counts[f':tensorflow:serving:request_count{{model_name="{UNKNOWN}",status="OK"}}'] == 14


def test_paths_of_versions_are_bounded():
    monitor = Monitor(Models())
    for number in range(MOST_PATHS + 50):
        monitor.loaded("m", number, f"/m/{number}", None, 1.0)
    values, _ = parsed(monitor.page()[1].decode())
    paths = [name for name in values if "load_attempt_count" in name]
    assert len(paths) == MOST_PATHS and any(f'"/m/{MOST_PATHS + 49}"' in path for path in paths)


def test_a_fault_of_the_monitoring_is_told_once_and_no_request_fails(monkeypatch):
    told = []
    monkeypatch.setattr(monitoring.logging, "exception", told.append)
    monitor = Monitor(Models())
    for _ in range(3):
        monitor(Answered("Predict", "GRPC", request="none"))
    assert len(told) == 1


def test_labels_are_escaped():
    monitor = Monitor(Models())
    name = 'm\\"\n'
    monitor(answered(name, response=object()))
    (family,) = [one for one in text_string_to_metric_families(monitor.page()[1].decode())
                 if one.name == ":tensorflow:serving:request_count"]  # fmt: skip
    assert family.samples[0].labels["model_name"] == name


@pytest.mark.parametrize("text, path", [
    ("prometheus_config { enable: true }", PATH),
    ('prometheus_config { enable: true path: "/metrics" }', "/metrics"),
    ('prometheus_config { enable: false path: "/metrics" }', ""),
    ("", ""),
])  # fmt: skip
def test_where_the_page_lies(tmp_path, text, path):
    file = tmp_path / "monitoring.config"
    file.write_text(text)
    assert page_path(str(file)) == path and page_path("") == ""


@pytest.mark.parametrize("path", ["metrics", "/v1/models/x"])
def test_a_page_has_its_own_place(tmp_path, path):
    file = tmp_path / "monitoring.config"
    file.write_text(f'prometheus_config {{ enable: true path: "{path}" }}')
    with pytest.raises(ValueError, match=r"`monitoring_config_file` .* has the path .* must begin with / and lie out"):
        page_path(str(file))


def test_the_page_needs_a_port_for_rest(tmp_path, capsys):
    file = tmp_path / "monitoring.config"
    file.write_text("prometheus_config { enable: true }")
    words = ["--port=0", f"--monitoring_config_file={file}", "--model_base_path=/m"]
    code, _, error = run_here(server, capsys, *words)
    assert (code, error) == (1, "error: `monitoring_config_file` is set but `rest_api_port` is not, where the metrics "
                                "are shown; set it as well.\n")  # fmt: skip
    file.write_text("prometheus { }")
    code, _, error = run_here(server, capsys, *words, "--rest_api_port=1")
    assert code == 1 and "Error parsing text-format tensorflow.serving.MonitoringConfig" in error
