"""The server that the conformance tests ask: one of their own, or that of --target."""

import dataclasses
import pathlib
import re

import grpc
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc, prediction_service_pb2_grpc

from tests.serving import toys
from tests.serving.conformance import models as conformance_models
from tests.serving.wire import asking, free_port


def pytest_addoption(parser):
    group = parser.getgroup("conformance")
    group.addoption("--target", help="host:port of a running server's gRPC, instead of one that the tests start.")
    group.addoption("--target_rest", help="host:port of its REST.")
    group.addoption("--target_models", help="Folder that tests.serving.conformance.models wrote and the target serves.")


@dataclasses.dataclass
class Target:
    """A server with the models of conformance/models.py. None: not known of a server that was started elsewhere."""

    address: str
    rest: str = None
    models: pathlib.Path = None
    log: pathlib.Path = None
    socket: str = None
    own: bool = False

    @property
    def base(self):
        """The folder of the models as the server sees it."""
        config = (self.models / "models.config").read_text()
        return re.search(r'base_path: "(.*)/toy"', config)[1]


@pytest.fixture(scope="session")
def target(request, tmp_path_factory):
    address, rest, models = (request.config.getoption(f"--target{part}", None) for part in ("", "_rest", "_models"))
    if address:
        yield Target(address, rest, models and pathlib.Path(models))
        return
    folder = tmp_path_factory.mktemp("conformance")
    code, _, error = toys.run_process("tests.serving.conformance.models", folder / "models", folder / "models")
    assert code == 0, error
    port = free_port()
    (folder / "monitoring.config").write_text("prometheus_config { enable: true }")
    running = toys.start(
        [
            f"--model_config_file={folder}/models/models.config",
            f"--monitoring_config_file={folder}/monitoring.config",
            f"--rest_api_port={port}",
            f"--grpc_socket_path={folder}/socket",
            "--grpc_channel_arguments=grpc.max_connection_age_ms=600000,grpc.max_concurrent_streams=500",
            "--file_system_poll_wait_seconds=0.1",
            "--max_num_load_retries=0",
        ],
        folder,
    )
    try:
        yield Target(
            running.address, f"127.0.0.1:{port}", folder / "models", running.log, f"unix:{folder}/socket", own=True
        )
        assert "Traceback" not in running.log.read_text(), running.log.read_text()
    finally:
        assert toys.stop(running) == 0


@pytest.fixture(scope="session")
def channel(target):
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(target.address, options) as channel:
        yield channel


@pytest.fixture(scope="session")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="session")
def models(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


@pytest.fixture
def own(request):
    """For what needs other flags, or files of this machine."""
    if request.config.getoption("--target", None):
        pytest.skip("needs a server of its own with other flags, not --target")


@pytest.fixture
def folders(target):
    """The folder of the models, for what changes them."""
    if target.models is None:
        pytest.skip("changes model folders: give --target_models=DIR, which the target serves")
    return target.models


@pytest.fixture
def rest(target):
    """ask(verb, path, body) -> (HTTP status, JSON); a body that is no str or bytes is written as JSON."""
    if target.rest is None:
        pytest.skip("asks by REST: give --target_rest=host:port")
    return asking(target.rest)


def reloading(models, text, timeout=60):
    request = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(text, request.config)
    return models.HandleReloadConfigRequest(request, timeout=timeout)


@pytest.fixture
def raw_reload(models, folders):
    """raw_reload(text): a config as it is; for those that are refused."""
    return lambda text, timeout=60: reloading(models, text, timeout)


@pytest.fixture
def reload(models, target, folders):
    """reload(name=entry, ...): the models of all tests with these added, changed or, of None, removed.

    Afterwards they are as they were.
    """

    def serve(timeout=60, **changes):
        found = conformance_models.entries(target.base) | changes
        return reloading(models, conformance_models.config(filter(None, found.values())), timeout)

    yield serve
    serve()
