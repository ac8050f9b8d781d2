"""What goes wrong around a server: it goes on answering rightly, or ends as it should, and nothing is half written."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from saved_models import gallery
from serving.client import Client
from serving.errors import ServingError
from serving.gallery_client import GalleryClient
from tests.serving.conformance.models import config, entry, log_of, warmup_file
from tests.serving.fakes import Relay
from tests.serving.hostile import TRICKS
from tests.serving.toys import ROOT, Encoder, Toy, environment, png, start, stop, until
from tests.serving.wire import IA, NF, State, X, appear, asking, free_port, refused, request, states

LARGEST = 2**20     # bytes of a gRPC message


class Large(Toy):
    """With a signature whose answers are as large as is asked."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="bytes")])
    def large(self, bytes):
        return {"text": tf.strings.reduce_join(tf.fill([bytes // 8], "12345678"))}

    def functions(self):
        return {**super().functions(), "large": self.large}


class Stalling(Relay):
    """Hands on what a client sends, and what it is answered as long as it reads."""

    def __init__(self, address):
        super().__init__(address)
        self.reads = threading.Event()
        self.reads.set()

    def _pass(self, source, target, counted):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                counted or self.reads.wait(60)
                target.sendall(data)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """toy with version 1, gRPC and REST with two threads, watched ten times a second."""
    folder = tmp_path_factory.mktemp("faults")
    Large(1.0).save(folder / "toy" / "1", "serving_default", "slow", "embed", "large")
    rest = free_port()
    one = start([f"--model_base_path={folder}/toy", "--model_name=toy", f"--rest_api_port={rest}",
                 "--file_system_poll_wait_seconds=0.1", "--max_num_load_retries=0", "--rest_api_num_threads=2",
                 f"--grpc_channel_arguments=grpc.max_receive_message_length={LARGEST}"], folder)
    one.models, one.rest = folder, rest
    yield one
    assert stop(one) == 0 and "Traceback" not in one.log.read_text()


def answered(running, seconds=10.0):
    """y of a sound request by gRPC and by REST."""
    with grpc.insecure_channel(running.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        by_grpc = list(stub.Predict(request({"x": X}, model="toy"), timeout=seconds).outputs["y"].float_val)
    connection = http.client.HTTPConnection("127.0.0.1", running.rest, timeout=seconds)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/models/toy:predict", json.dumps({"instances": [2.0, 5.0]}))
        answer = connection.getresponse()
        assert answer.status == 200
        by_rest = json.loads(answer.read())["predictions"]
    assert by_grpc == by_rest
    return by_grpc


def test_a_thousand_connections_and_slow_clients_hold_nobody_up(running):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2000:
        if hard < 2000:
            pytest.skip(f"this system lets a process open {hard} files but the test needs 2,000")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port = int(running.address.split(":")[1])
    with contextlib.ExitStack() as stack:
        for i in range(1000):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", running.rest if i % 2 else port), 5))
            # Half of a request each: a head that does not end, a body that does not come, an HTTP/2 that says nothing.
            one.sendall((b"PRI * HTTP/2.0\r\n", b"POST /v1/models/toy:predict HTTP/1.1\r\nContent-Le",
                         b"", b"POST /v1/models/toy:predict HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")[i % 4])
        assert answered(running) == [2.0, 3.5]
    assert answered(running) == [2.0, 3.5]


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(running):
    with socket.create_connection(("127.0.0.1", running.rest), 5) as one:
        one.sendall(b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n{")
        one.settimeout(5)
        assert b" 413 " in one.recv(1000).split(b"\r\n")[0]
    assert answered(running) == [2.0, 3.5]


def test_a_message_that_is_too_large_is_refused(running):
    with grpc.insecure_channel(running.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        message = request({"x": np.zeros(LARGEST // 4, np.float32)}, model="toy")
        assert refused(stub.Predict, message)[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert answered(running) == [2.0, 3.5]


def test_images_that_would_fill_the_memory_are_refused(running):
    """A head of a hundred bytes that says 60,000 x 60,000 pixels, and more small images than are taken at once."""
    huge = bytearray(png(9, 9, 9))
    huge[16:24] = (60_000).to_bytes(4, "big") * 2
    with grpc.insecure_channel(running.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for images, told in (([bytes(huge)], "60,000 x 60,000 pixels"), ([png(9, 9, 9, 1)] * 5000, "5,000 images")):
            code, text = refused(stub.Predict, request({"image_bytes": images}, model="toy", signature="embed"))
            assert code == IA and told in text
    assert answered(running) == [2.0, 3.5]


def test_names_and_versions_that_mean_another_place_are_no_models(running):
    ask = asking(f"127.0.0.1:{running.rest}")
    with grpc.insecure_channel(running.address) as channel:
        prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        models = model_service_pb2_grpc.ModelServiceStub(channel)
        for trick in TRICKS:
            calls = [(prediction.Predict, request({"x": X}, model=trick))]
            for wanted, kind in ((prediction.GetModelMetadata, get_model_metadata_pb2.GetModelMetadataRequest),
                                 (models.GetModelStatus, get_model_status_pb2.GetModelStatusRequest)):
                message = kind()
                message.model_spec.name = trick
                calls.append((wanted, message))
            calls[1][1].metadata_field.append("signature_def")
            for call, message in calls:
                assert refused(call, message)[0] == NF, trick[:40]
            assert refused(prediction.Predict, request({"x": X}, label=trick))[0] == IA
            quoted = urllib.parse.quote(trick[:1000], safe="")
            for path in (f"/v1/models/{trick[:1000]}", f"/v1/models/{quoted}", f"/v1/models/toy/versions/{quoted}",
                         f"/v1/models/toy/labels/{quoted}"):
                if path.isascii() and path.isprintable():
                    assert ask("GET", path)[0] in (400, 404), path
                    assert ask("POST", f"{path}:predict", {"instances": [2.0]})[0] in (400, 404), path
        for version in (-1, 2, 2**63 - 1, -2**63):
            assert refused(prediction.Predict, request({"x": X}, version=version))[0] == NF
    for version in ("-1", "2", "01x", "%2e%2e", "9" * 400):
        assert ask("GET", f"/v1/models/toy/versions/{version}")[0] in (400, 404), version
    assert answered(running) == [2.0, 3.5]


def test_slow_readers_by_grpc_hold_nobody_up(running):
    """They ask for 100 MB and do not read; when they do, all of it is there."""
    size, message = 4 * 2**20, None
    with Stalling(running.address) as relay, grpc.insecure_channel(
            relay.address, [("grpc.max_receive_message_length", -1)]) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        message = request({"bytes": np.int32(size)}, model="toy", signature="large")
        assert stub.Predict(message, timeout=20).outputs["text"].string_val == [b"12345678" * (size // 8)]
        relay.reads.clear()
        asked = [stub.Predict.future(message, timeout=60) for _ in range(25)]
        assert answered(running) == [2.0, 3.5]
        assert not any(one.done() for one in asked)
        relay.reads.set()
        assert all(len(one.result().outputs["text"].string_val[0]) == size for one in asked)


def test_slow_readers_by_rest_hold_nobody_up(running):
    """More of them than there are threads ask for two answers each, too large to be kept, and do not read."""
    body = json.dumps({"signature_name": "large", "inputs": 20 * 2**20}).encode()
    text = b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", running.rest), 5)) for _ in range(3)]
        for one in slow:
            one.sendall(text * 2)
        for one in slow:
            assert one.recv(12) == b"HTTP/1.1 200", "the first answer is on its way"
        assert answered(running) == [2.0, 3.5]


def test_a_folder_that_goes_away_changes_nothing(running):
    os.rename(running.models / "toy", running.models / "gone")
    try:
        time.sleep(0.5)     # several looks
        assert answered(running) == [2.0, 3.5]
    finally:
        os.rename(running.models / "gone", running.models / "toy")


@pytest.mark.slow
@pytest.mark.parametrize("asked", ["folder", "reload"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_ended_while_it_loads_a_new_version(tmp_path, number, asked):
    """The new version's warm-up is under way, and waits. SIGTERM ends with 0; the next server serves whole versions."""
    Toy(1.0).save(tmp_path / "toy" / "1", "serving_default")
    words = [f"--model_base_path={tmp_path}/toy", "--model_name=toy", "--file_system_poll_wait_seconds=0.02"]
    one = start(words, tmp_path)
    new = tmp_path / ("toy" if asked == "folder" else "other")
    new.mkdir(exist_ok=True)

    def build(path):
        Toy(2.0).save(path, "serving_default", "slow")
        warmup_file(path, [log_of("predict", request({"file": str(tmp_path / "warm")}, signature="slow"))])

    appear(new, 2, build)
    with grpc.insecure_channel(one.address) as channel:
        models, reload = model_service_pb2_grpc.ModelServiceStub(channel), None
        if asked == "reload":
            message = model_management_pb2.ReloadConfigRequest()
            text_format.Parse(config([entry("toy", tmp_path / "other")]), message.config)
            reload = models.HandleReloadConfigRequest.future(message, timeout=60)
        assert until((tmp_path / "warm.begun").exists) and states(models, "toy")[2].state == State.LOADING
        one.process.send_signal(number)
        assert one.process.wait(20) == (0 if number == signal.SIGTERM else -9)
        assert reload is None or reload.exception() is not None, "nobody is told that it serves"
    (tmp_path / "warm").touch()
    os.remove(tmp_path / "port")
    again = start(words, tmp_path)
    try:
        with grpc.insecure_channel(again.address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            answer = list(stub.Predict(request({"x": X}, model="toy"), timeout=10).outputs["y"].float_val)
        assert answer == ([3.0, 4.5] if asked == "folder" else [2.0, 3.5])
    finally:
        assert stop(again) == 0


@pytest.mark.slow
def test_a_full_disk_refuses_the_change_and_serves_on(tmp_path):
    Encoder().save(tmp_path / "toy" / "1", "embed")
    entries = [("red", "red/0", png(250, 3, 9)), ("green", "green/0", png(3, 250, 9))]
    gallery.build(str(tmp_path / "toy" / "1"), entries, str(tmp_path), k=1, check=False)
    code = ("import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)); "
            "from serving import server; sys.argv[0] = 'server'; server.start()")
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--port=0", f"--port_file={tmp_path}/port", "--model_name=gallery",
         f"--model_base_path={tmp_path}/gallery", "--enable_gallery_changes"], cwd=ROOT, env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert until((tmp_path / "port").exists, 60)
        address = f"localhost:{(tmp_path / 'port').read_text().strip()}"
        with GalleryClient(address) as changes, Client(address, "gallery") as client:
            with pytest.raises(ServingError, match="RESOURCE_EXHAUSTED|INVALID_ARGUMENT") as told:
                changes.enrol([("blue", "blue/0", png(9, 3, 250))])
            assert "Traceback" not in str(told.value)
            assert client.search([png(3, 250, 9)])["identities"].tolist() == [["green"]]
        left = [path.name for path in (tmp_path / "gallery").iterdir()]
        assert left == ["1"], "nothing half written"
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.slow
def test_many_threads_during_changes_get_answers_of_whole_versions(tmp_path):
    """Each answer is that of the version it names, while versions come and go."""
    Toy(1.0).save(tmp_path / "toy" / "1", "serving_default")
    one = start([f"--model_base_path={tmp_path}/toy", "--model_name=toy", "--file_system_poll_wait_seconds=0.02",
                 "--enable_batching"], tmp_path)
    stop_at = time.monotonic() + 4.0
    try:
        with grpc.insecure_channel(one.address) as channel, concurrent.futures.ThreadPoolExecutor(6) as pool:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

            def ask(seed):
                draw, seen = np.random.default_rng(seed), set()
                while time.monotonic() < stop_at:
                    x = draw.normal(size=draw.integers(1, 9)).astype(np.float32)
                    answer = stub.Predict(request({"x": x}, model="toy"), timeout=10)
                    version = answer.model_spec.version.value
                    np.testing.assert_allclose(answer.outputs["y"].float_val, x / 2 + version, rtol=1e-6)
                    seen.add(version)
                return seen
            asked = [pool.submit(ask, seed) for seed in range(6)]
            for version in range(2, 8):
                appear(tmp_path / "toy", version, lambda path, value=version: Toy(value).save(path, "serving_default"))
                time.sleep(0.3)
            seen = set().union(*[future.result() for future in asked])
        assert len(seen) > 2
    finally:
        stop(one)
