"""TF Serving's REST in front of `serving.calls`: in come HTTP requests with JSON, out go JSON answers.

    POST /v1/models/NAME[/versions/V|/labels/L]:predict|classify|regress
    GET  /v1/models/NAME[/versions/V|/labels/L][/metadata]
"""

import functools
import json
import re
import socket
import threading
import time

from absl import logging
from google.protobuf import json_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)
from waitress import wasyncore

from serving import intake, json_tensors
from serving.status import Code, StatusError, invalid

BODY_BYTES = 128 * 2**20  # JSON takes several times as much in memory
_ASK = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?:(classify|regress|predict)", re.I)
_TELL = re.compile(r"/v1/models(?:/([^/:]+))?(?:/versions/(\d+)|/labels/([^/:]+))?(?:/(metadata))?", re.I)
_HTTP = {
    Code.INVALID_ARGUMENT: "400 Bad Request",
    Code.FAILED_PRECONDITION: "400 Bad Request",
    Code.OUT_OF_RANGE: "400 Bad Request",
    Code.UNAUTHENTICATED: "401 Unauthorized",
    Code.PERMISSION_DENIED: "403 Forbidden",
    Code.NOT_FOUND: "404 Not Found",
    Code.ALREADY_EXISTS: "409 Conflict",
    Code.ABORTED: "409 Conflict",
    Code.RESOURCE_EXHAUSTED: "429 Too Many Requests",
    Code.CANCELLED: "499 Client Closed Request",
    Code.UNIMPLEMENTED: "501 Not Implemented",
    Code.UNAVAILABLE: "503 Service Unavailable",
    Code.DEADLINE_EXCEEDED: "504 Gateway Timeout",
}


class Rest:
    """The HTTP server; answers from `start` to `stop`, and what came before until `close`.

    Args:    calls: serving.calls.Calls.  requests: serving.rpc.Requests, which counts what is under way.
             host, port: to listen on; port 0 = a free one.  threads: requests answered at a time.
             timeout: seconds a request may wait for its turn and its batch.
             cross_origin: let pages of other origins ask, as --rest_api_enable_cors_support.
             pages: {path: () -> (content type, bytes)} answered to GET beside the API.
             body_bytes: of the largest request that is read.
    Raises:  OSError where the port cannot be listened on.
    """

    def __init__(self, calls, requests, host, port, threads, timeout=30.0, cross_origin=False, pages=None,
                 body_bytes=BODY_BYTES):  # fmt: skip
        self._calls, self._requests, self._timeout = calls, requests, timeout
        self._cross_origin, self._pages = cross_origin, pages or {}
        self._stopping = False
        self._server = intake.create(self._answer, _bound(host, port), threads, body_bytes)
        self._thread = threading.Thread(target=self._server.run, name="rest", daemon=True)

    @property
    def port(self):
        return int(self._server.effective_port)

    def start(self):
        self._thread.start()

    def stop(self):
        """No new requests: the port is closed and what comes on open connections is refused."""
        self._stopping = True
        self._in_loop(functools.partial(wasyncore.dispatcher.close, self._server))

    def is_done(self):
        """Whether every request that came whole is answered and its answer has left."""
        channels = list(self._server.active_channels.values())
        return not any(channel.requests or channel.total_outbufs_len for channel in channels)

    def close(self):
        """Ends every connection, answered or not."""

        def end():
            for one in list(self._server.active_channels.values()):
                one.handle_close()
            wasyncore.close_all(self._server._map)  # the loop ends with its last socket

        self._server.task_dispatcher.set_thread_count(0)
        self._in_loop(end)
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def _in_loop(self, work):
        """Sockets are closed in the thread that waits for them: elsewhere their numbers may be another's by then."""
        trigger = self._server.trigger
        if self._thread.is_alive():
            with trigger.lock:  # else another one's pull may begin the work, which closes the trigger before this one
                trigger.thunks.append(work)
                trigger.pull_trigger()
        else:
            work()

    def _answer(self, environ, start_response):
        """The WSGI application."""
        headers = [("Access-Control-Allow-Origin", "*")] if self._cross_origin else []
        with self._requests.under_way():
            status, kind, body = self._answered(environ, headers)
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body))), *headers])
        return [body]

    def _answered(self, environ, headers):
        # WSGI hands over the bytes of a path, its escapes undone, as if they were Latin-1.
        path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")
        verb = environ["REQUEST_METHOD"]
        try:
            if self._stopping:
                raise StatusError(Code.UNAVAILABLE, "The server is stopping")
            if time.monotonic() >= environ[intake.ARRIVED] + self._timeout:
                told = f"The request's {self._timeout:g} s passed before its turn came; ask again later."
                raise StatusError(Code.DEADLINE_EXCEEDED, told)
            if verb == "GET" and path in self._pages:
                return "200 OK", *self._pages[path]()
            if verb == "OPTIONS" and self._cross_origin:
                headers += [("Access-Control-Allow-Methods", "GET, POST, OPTIONS"),
                            ("Access-Control-Allow-Headers", "Content-Type")]  # fmt: skip
                return "200 OK", "application/json", b""
            if not path.lower().startswith("/v1/"):
                return failure("404 Not Found", "Not found; the API lies below /v1/models.")
            found = self._routed(verb, path, environ)
        except StatusError as error:
            return failure(_HTTP.get(error.code, "500 Internal Server Error"), error.message)
        except Exception:  # noqa: BLE001 - one bad request must not end the server
            logging.exception("A REST request failed in an unforeseen way.")
            return failure(
                "500 Internal Server Error", "The server failed on this request; its log says where."
            )
        return "200 OK", "application/json", json.dumps(found, ensure_ascii=False).encode("utf-8", "replace")

    def _routed(self, verb, path, environ):
        asked = _ASK.fullmatch(path) if verb == "POST" else None
        told = _TELL.fullmatch(path) if verb == "GET" else None
        if asked:
            name, version, label, method = asked.groups()
            spec = _spec(name, version, label)
            body = _body(environ)
            left = max(0.0, environ[intake.ARRIVED] + self._timeout - time.monotonic())
            with self._requests.joining():
                return getattr(self, f"_{method.lower()}")(spec, body, left)
        if told:
            name, version, label, metadata = told.groups()
            if not name:
                raise invalid("Missing model name in request.")
            spec = _spec(name, version, label)
            return self._metadata(spec) if metadata else self._status(spec)
        raise invalid(f"Malformed request: {verb} {path}")

    def _predict(self, spec, body, timeout):
        request, rows = predict_pb2.PredictRequest(model_spec=spec), []

        def fill(servable):
            key, definition = servable.signature(request.model_spec.signature_name)
            if definition is None:
                raise invalid(f'Serving signature name: "{key}" not found in signature def')
            inputs, by_rows = json_tensors.read_inputs(body, definition.inputs)
            rows.append(by_rows)
            for name, proto in inputs.items():
                request.inputs[name].CopyFrom(proto)

        request.model_spec.signature_name = _signature_name(body)
        response = self._calls.predict(request, timeout, fill, True, "REST")
        return json_tensors.write_outputs(response.outputs, rows[0])

    def _classify(self, spec, body, timeout):
        request = classification_pb2.ClassificationRequest(model_spec=spec, input=json_tensors.read_examples(body))
        request.model_spec.signature_name = _signature_name(body)
        response = self._calls.classify(request, timeout, "REST")
        return {
            "results": [
                [[one.label, json_tensors.number(one.score)] for one in row.classes]
                for row in response.result.classifications
            ]
        }

    def _regress(self, spec, body, timeout):
        request = regression_pb2.RegressionRequest(model_spec=spec, input=json_tensors.read_examples(body))
        request.model_spec.signature_name = _signature_name(body)
        response = self._calls.regress(request, timeout, "REST")
        return {"results": [json_tensors.number(one.value) for one in response.result.regressions]}

    def _status(self, spec):
        return _as_dict(self._calls.status(get_model_status_pb2.GetModelStatusRequest(model_spec=spec)))

    def _metadata(self, spec):
        request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
        response = self._calls.metadata(request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        return {
            "model_spec": _as_dict(response.model_spec),
            "metadata": {"signature_def": _as_dict(signatures)},
        }


def _bound(host, port):
    """One socket, also where a name such as localhost stands for several addresses.   Raises: OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    return socket.create_server(address[:2], family=family)


def _spec(name, version, label):
    spec = model_pb2.ModelSpec(name=name)
    if version is not None:
        if int(version[:20]) >= 2**63 or len(version) > 19:
            raise invalid(f"Failed to convert version: {version[:40]} to numeric.")
        spec.version.value = int(version)
    elif label is not None:
        spec.version_label = label
    return spec


def _body(environ):
    """The JSON object that was sent."""
    data = environ["wsgi.input"].read()
    if not data.strip():
        raise invalid("JSON Parse error: The document is empty")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise invalid(f"JSON Parse error: Invalid value. {error}") from None
    if not isinstance(body, dict):
        raise invalid("JSON Parse error: the document must be an object")
    return body


def _signature_name(body):
    name = body.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid("'signature_name' key must be a string value.")
    return name


def _as_dict(message):
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, including_default_value_fields=True
    )


def failure(status, message):
    """(status, content type, body) of an error."""
    return status, "application/json", json.dumps({"error": message}).encode()


