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
import time

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import prediction_service_pb2_grpc

from saved_models import gallery
from serving.client import Client
from serving.errors import ServingError
from serving.gallery_client import GalleryClient
from tests.serving.toys import ROOT, Encoder, Toy, environment, png, start, stop, until
from tests.serving.wire import X, appear, request


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """toy with version 1, gRPC and REST, watched ten times a second."""
    folder = tmp_path_factory.mktemp("faults")
    Toy(1.0).save(folder / "toy" / "1", "serving_default", "slow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        rest = free.getsockname()[1]
    one = start([f"--model_base_path={folder}/toy", "--model_name=toy", f"--rest_api_port={rest}",
                 "--file_system_poll_wait_seconds=0.1", "--max_num_load_retries=0"], folder)
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


def test_a_folder_that_goes_away_changes_nothing(running):
    os.rename(running.models / "toy", running.models / "gone")
    try:
        time.sleep(0.5)     # several looks
        assert answered(running) == [2.0, 3.5]
    finally:
        os.rename(running.models / "gone", running.models / "toy")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_ended_while_it_loads_a_new_version(tmp_path, number):
    """The next server finds whole versions only; SIGTERM ends with 0."""
    Toy(1.0).save(tmp_path / "toy" / "1", "serving_default")
    words = [f"--model_base_path={tmp_path}/toy", "--model_name=toy", "--file_system_poll_wait_seconds=0.02"]
    one = start(words, tmp_path)
    for version in range(2, 6):
        appear(tmp_path / "toy", version, lambda path, value=version: Toy(value).save(path, "serving_default"))
    one.process.send_signal(number)
    assert one.process.wait(20) == (0 if number == signal.SIGTERM else -9)
    os.remove(tmp_path / "port")
    again = start(words, tmp_path)
    try:
        with grpc.insecure_channel(again.address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            assert list(stub.Predict(request({"x": X}, model="toy"), timeout=10).outputs["y"].float_val) == [6.0, 7.5]
    finally:
        stop(again)


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
