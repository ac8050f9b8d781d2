"""gRPC beside its calls: certificates, health, counting, deadlines and what nobody foresaw."""

import contextlib
import datetime
import ipaddress
import threading
import time

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc, prediction_service_pb2_grpc

from serving import rpc, server
from serving.server import Server
from serving.status import Code, StatusError
from tests.serving.toys import until
from tests.serving.wire import NF, X, refused, request

# ---- Certificates ----


class Signer:
    """A certificate authority with keys of 256 bits on an elliptic curve, which are made at once."""

    def __init__(self, name):
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self._name, self._key, authority=True)

    def issue(self, name):
        """(key, certificate) as PEM, for 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return pem, self._sign(subject, key)

    def _sign(self, subject, key, authority=False):
        now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
        addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = x509.CertificateBuilder(
            self._name, subject, key.public_key(), x509.random_serial_number(), now - day, now + day
        )
        builder = builder.add_extension(x509.BasicConstraints(authority, None), critical=True)
        signed = builder.add_extension(addresses, critical=False).sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def ours():
    return Signer("ours")


@contextlib.contextmanager
def encrypted(folder, signer, **fields):
    """A server with an SSLConfig file."""
    key, certificate = signer.issue("server")
    fields = {"server_key": key.decode(), "server_cert": certificate.decode(), **fields}
    told = "\n".join(f"{name}: {'true' if value is True else repr(value)}" for name, value in fields.items())
    (folder / "ssl.config").write_text(told)
    with Server([], port=0, credentials=server._credentials(str(folder / "ssl.config"))) as running:
        yield running


def answered(address, credentials):
    """The code of an answer by which the server shows that it was asked: UNAVAILABLE where it was not."""
    channel = grpc.secure_channel(address, credentials) if credentials else grpc.insecure_channel(address)
    with channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        return refused(stub.Predict, request({"x": X}, model="nobody"))[0]


def test_encrypted_without_certificates_of_clients(tmp_path, ours):
    with encrypted(tmp_path, ours) as running:
        assert answered(running.address, grpc.ssl_channel_credentials(ours.certificate)) == NF
        assert answered(running.address, grpc.ssl_channel_credentials(Signer("others").certificate)) == Code.UNAVAILABLE
        assert answered(running.address, None) == Code.UNAVAILABLE


def test_encrypted_with_certificates_of_clients(tmp_path, ours):
    clients, others = Signer("clients"), Signer("others")
    with encrypted(tmp_path, ours, custom_ca=clients.certificate.decode(), client_verify=True) as running:
        for signer, code in ((clients, NF), (others, Code.UNAVAILABLE), (None, Code.UNAVAILABLE)):
            pair = signer.issue("client") if signer else (None, None)
            assert answered(running.address, grpc.ssl_channel_credentials(ours.certificate, *pair)) == code


@pytest.mark.parametrize(
    "text, told",
    [
        ("", "needs the PEM text of a server_key and a server_cert"),
        ('server_key: "k" server_cert: "c" client_verify: true', "sets client_verify but no custom_ca"),
        ("server_key: 3", "Error parsing text-format tensorflow.serving.SSLConfig"),
    ],
)
def test_ssl_config_that_is_refused(tmp_path, text, told):
    (tmp_path / "ssl.config").write_text(text)
    with pytest.raises(ValueError, match=told):
        server._credentials(str(tmp_path / "ssl.config"))


# ---- Health ----


def test_health_only_where_it_is_asked_for():
    for with_health in (True, False):
        with Server([], port=0, health=with_health) as running, grpc.insecure_channel(running.address) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            if not with_health:
                assert refused(check, health_pb2.HealthCheckRequest())[0] == Code.UNIMPLEMENTED
                continue
            for service in ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"):
                answer = check(health_pb2.HealthCheckRequest(service=service), timeout=20)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            assert refused(check, health_pb2.HealthCheckRequest(service="another"))[0] == NF


# ---- Calls ----


class Calls:
    """`status` waits until it may go on; the others fail in a way that nobody foresaw."""

    def __init__(self):
        self.begun, self.go, self.waited = threading.Semaphore(0), threading.Event(), []

    def status(self, request, timeout=None):
        self.waited.append(timeout)
        self.begun.release()
        assert self.go.wait(20)
        return get_model_status_pb2.GetModelStatusResponse()

    def predict(self, request, timeout=None):
        raise ZeroDivisionError("secret")

    classify = regress = multi_inference = metadata = reload = predict


@pytest.fixture
def calls():
    return Calls()


@pytest.fixture
def asked(calls):
    """(channel, Requests) of a server with one thread."""
    requests = rpc.Requests(1)
    running = rpc.grpc_server(calls, requests, arguments=[("grpc.max_concurrent_streams", 50)])
    port = running.add_insecure_port("127.0.0.1:0")
    running.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel, requests
    calls.go.set()
    running.stop(0).wait()
    requests.shutdown(wait=True)


def test_deadlines_are_handed_on_and_those_that_passed_are_not_worked_on(asked, calls):
    channel, requests = asked
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    message = get_model_status_pb2.GetModelStatusRequest()
    first = stub.GetModelStatus.future(message, timeout=100)
    assert calls.begun.acquire(timeout=20) and not requests.are_done()
    assert 90 < calls.waited[0] < 101  # the server's clock may be a little behind
    code, _ = refused(lambda message, timeout: stub.GetModelStatus(message, timeout=0.1), message)
    assert code == Code.DEADLINE_EXCEEDED  # the only thread is not free
    time.sleep(0.3)  # the server's own timer tells it a little later
    calls.go.set()
    first.result(timeout=20)
    assert until(requests.are_done) and len(calls.waited) == 1
    stub.GetModelStatus(message)
    assert calls.waited[1] is None  # no deadline


def test_what_nobody_foresaw_is_internal_and_tells_nothing(asked, calls):
    channel, requests = asked
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    code, text = refused(stub.Predict, request({"x": X}))
    assert code == Code.INTERNAL and "secret" not in text and "its log says where" in text
    calls.go.set()
    model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(get_model_status_pb2.GetModelStatusRequest())
    assert until(requests.are_done)


def test_bytes_that_are_no_message(asked):
    channel, requests = asked
    code, text = refused(channel.unary_unary("/tensorflow.serving.PredictionService/Predict"), b"\xff\xff")
    assert code == Code.INTERNAL and "cannot be parsed" in text
    assert until(requests.are_done)


# ---- Counting ----


def test_a_request_arrives_until_it_waits_for_a_batch_or_is_answered():
    requests, seen = rpc.Requests(1), []
    both_sent, go = threading.Event(), threading.Event()

    def work():
        assert both_sent.wait(20)
        seen.append(requests.arriving())
        requests.arrived()
        requests.arrived()  # once is enough
        seen.append(requests.arriving())
        assert go.wait(20)

    first, second = requests.submit(work), requests.submit(lambda: seen.append(requests.arriving()))
    both_sent.set()
    assert until(lambda: len(seen) == 2) and not requests.are_done()
    go.set()
    first.result(20), second.result(20)
    assert seen == [2, 1, 1] and until(requests.are_done) and requests.arriving() == 0


def test_a_request_that_fails_or_comes_by_rest_is_counted_too():
    requests = rpc.Requests(1)
    with pytest.raises(ZeroDivisionError):
        requests.submit(lambda: 1 / 0).result(20)
    assert until(requests.are_done)
    with pytest.raises(ZeroDivisionError), requests.under_way():
        assert requests.arriving() == 1 and not requests.are_done()
        raise ZeroDivisionError
    assert requests.are_done() and requests.arriving() == 0
    requests.shutdown()


def test_a_reload_stops_before_its_deadline_so_that_its_answer_says_why():
    waited = []

    def work(request, timeout):
        waited.append(timeout)
        raise StatusError(Code.DEADLINE_EXCEEDED, "this model is missing")

    class Context:
        """As gRPC's, of a request with a second left."""

        add_callback = is_active = staticmethod(lambda *_: True)
        time_remaining = staticmethod(lambda: 1.0)
        abort = staticmethod(lambda code, text: (code, text))

    handler = rpc._answered(rpc.Requests(1), work, spared=rpc.RELOAD_SECONDS)
    assert handler(None, Context) == (Code.DEADLINE_EXCEEDED, "this model is missing")
    assert waited == [1.0 - rpc.RELOAD_SECONDS]
