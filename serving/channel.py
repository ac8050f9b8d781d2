"""The way to a server: address, TLS, compression, deadlines, and which failures are worth another attempt."""

import random
import re
import time

import grpc
from absl import flags

RETRIES = 5  # after the first attempt: with the pauses below 1.6 to 3.1 s in all
FIRST_PAUSE, MOST_PAUSE = 0.1, 2.0  # seconds before the second attempt, and before any later one
COMPRESSIONS = {None: None, "none": None, "gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}

# What a server has too little of for good: the same request would only fail again.
_TOO_LARGE = re.compile(r"larger than|too (large|big)|\b(bytes|pixels|oom|memory)\b|allocat", re.IGNORECASE)
# As gRPC words a handshake that no repetition makes better.
_UNTRUSTED = re.compile(r"CERTIFICATE_VERIFY_FAILED|WRONG_VERSION_NUMBER|Peer name .* is not in peer certificate")


class Endpoint:
    """Where a server is and how it is spoken to: what a channel, blocking or asynchronous, is opened with.

    Args:    server: "host:port" or "unix:/path".
             tls: None or False = nothing is encrypted; True = the server's certificate is checked against the
             authorities that gRPC knows; a path = against those of this PEM file.
             tls_cert, tls_key: PEM files by which the client says who it is; both or neither, they imply tls=True.
             compression: None, "gzip" or "deflate" of what is sent; images are compressed already.
             retries: further attempts of a question after UNAVAILABLE, or RESOURCE_EXHAUSTED of a full queue.
    Raises:  ValueError for settings that contradict each other; OSError for a file that cannot be read.
    """

    def __init__(self, server, tls=None, tls_cert=None, tls_key=None, compression=None, retries=RETRIES):
        for name, value in (("tls_ca", tls), ("tls_cert", tls_cert), ("tls_key", tls_key)):
            if value == "":  # as of a variable of the shell that is not set: never go on without encryption
                raise ValueError(f"`{name}` is empty but must be the path of a PEM file; give one or leave it away.")
        if bool(tls_cert) != bool(tls_key):
            given, missing = ("tls_cert", "tls_key") if tls_cert else ("tls_key", "tls_cert")
            raise ValueError(
                f"`{given}` is {tls_cert or tls_key} but `{missing}` is missing; a certificate and its key are given "
                "together."
            )
        if compression not in COMPRESSIONS:
            raise ValueError(f"`compression` is {compression!r} but must be gzip, deflate or none; correct it.")
        if retries < 0:
            raise ValueError(f"`retries` is {retries} but must be at least 0; 0 asks once.")
        self.server, self.retries, self.compression = server, retries, COMPRESSIONS[compression]
        self.credentials = None
        if tls or tls_cert:
            self.credentials = grpc.ssl_channel_credentials(
                None if tls in (None, False, True) else _pem("tls_ca", tls),
                _pem("tls_key", tls_key) if tls_key else None,
                _pem("tls_cert", tls_cert) if tls_cert else None,
            )

    @property
    def options(self):
        host = self.server.rpartition(":")[0].strip("[]")
        local = host in ("localhost", "::1") or host.startswith("127.") or self.server.startswith("unix:")
        return [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            # A proxy cannot reach this machine's own address.
            ("grpc.enable_http_proxy", 0 if local else 1),
            # A server that starts is seen at once: gRPC's own pauses grow to two minutes.
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 1000),
            # gRPC's own attempts would come on top of those that are counted here.
            ("grpc.enable_retries", 0),
        ]

    def open(self, kind):
        """A channel of `grpc` or `grpc.aio`."""
        if self.credentials:
            return kind.secure_channel(self.server, self.credentials, self.options, self.compression)
        return kind.insecure_channel(self.server, self.options, self.compression)


class Connection(Endpoint):
    """One channel, which any number of clients and threads share.   Args: as Endpoint."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._channel = self.open(grpc)
        self.prediction, self.models = stubs(self._channel)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._channel.close()

    def method(self, name, request, response):
        """A method that the stubs do not have.   Args: name: "/service/method".  request, response: their classes."""
        return self._channel.unary_unary(name, request.SerializeToString, response.FromString)

    def call(self, method, request, seconds, retried=True):
        """The answer of a stub's method.

        Args:   seconds: for all attempts and pauses together.
                retried: whether asking twice does no harm, as with all that only read.
        Raises: grpc.RpcError of the last attempt.
        """
        attempts = Attempts(seconds, self.retries if retried else 0)
        while True:
            try:
                return method(request, timeout=attempts.left())
            except grpc.RpcError as error:
                pause = attempts.pause(error)
                if pause is None:
                    raise
            time.sleep(pause)


class Attempts:
    """How long the next attempt of a call may take, and when it is made."""

    def __init__(self, seconds, retries):
        self._deadline, self._retries, self._made = time.monotonic() + seconds, retries, 0

    def left(self):
        return max(0.0, self._deadline - time.monotonic())

    def pause(self, error):
        """Seconds to the next attempt; None where there is none: it would not help or come after the deadline."""
        # At random, so that clients that failed together do not come back together.
        pause = min(MOST_PAUSE, FIRST_PAUSE * 2**self._made) * random.uniform(0.5, 1.0)
        if self._made >= self._retries or not passes(error.code(), error.details()) or pause >= self.left():
            return None
        self._made += 1
        return pause


def passes(code, details):
    """Whether a failure may pass by itself: nobody answered, or a queue was full."""
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return not too_large(details or "")
    return code == grpc.StatusCode.UNAVAILABLE and not untrusted(details or "")


def too_large(message):
    """Whether RESOURCE_EXHAUSTED speaks of the request itself, and not of others that came before it."""
    return bool(_TOO_LARGE.search(message))


def untrusted(message):
    """Whether UNAVAILABLE speaks of certificates, which waiting does not change."""
    return bool(_UNTRUSTED.search(message))


def _pem(name, path):
    """The bytes of a PEM file.   Raises: ValueError or OSError that name the setting and the file."""
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except OSError as error:
        raise OSError(f"`{name}` is {path} but cannot be read: {error.strerror or error}; correct the path.") from error
    if b"-----BEGIN " not in data:
        raise ValueError(f"`{name}` is {path} but holds no PEM block; give a file with -----BEGIN in it.")
    return data


def stubs(channel):
    """(PredictionServiceStub, ModelServiceStub) of a channel."""
    # Not above: TensorFlow comes with them, for seconds of which a command that asks no server has no use.
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

    return (
        prediction_service_pb2_grpc.PredictionServiceStub(channel),
        model_service_pb2_grpc.ModelServiceStub(channel),
    )


# ---- Flags ----


def define_flags():
    """Flags of the way to a server, for every command that asks one; beside them it defines --server."""
    flags.DEFINE_bool("tls", False, "Encrypt, and trust the authorities that gRPC knows.")
    flags.DEFINE_string("tls_ca", None, "PEM file of the authorities to trust instead; implies --tls.")
    flags.DEFINE_string("tls_cert", None, "PEM file of the client's certificate; implies --tls.")
    flags.DEFINE_string("tls_key", None, "PEM file of its key.")
    flags.DEFINE_enum(
        "compression", "none", list(filter(None, COMPRESSIONS)), "Of what is sent; images are compressed already."
    )
    flags.DEFINE_integer(
        "retries", RETRIES, "Further attempts where nobody answers or a queue is full.", lower_bound=0, upper_bound=100
    )


def connection(values):
    """The Connection that the flags describe."""
    tls = values.tls if values.tls_ca is None else values.tls_ca
    return Connection(
        values.server, tls, values.tls_cert, values.tls_key, values.compression, values.retries
    )
