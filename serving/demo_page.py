"""The web page of --demo_port: in come requests of a browser, out go the page, what the models offer, their answers.

    GET  /  /page.css  /page.js     the files of serving/demo/
    GET  /models                    {"largest_upload", "models": [{"name", "labels", "versions": [{"version", "state",
                                    "error", "tasks", "others"}]}]}; a version's tasks are found by its metadata
    POST /v1/models/...             as serving.rest, which the page asks with JSON

The page works for people who may ask this server anyway: it knows no passwords and encrypts nothing.
"""

import functools
import ipaddress
import json
import os
import re
import socket
import urllib.parse

from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from serving.rest import Rest, failure
from serving.status import Code, StatusError
from serving.values import describe

UPLOAD_BYTES = 32 * 2**20  # of a question; an image in it takes a third more than its file
THREADS = 4
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "demo")
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
HEADERS = [
    ("Content-Security-Policy",
     "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
     "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
]  # fmt: skip

State = get_model_status_pb2.ModelVersionStatus.State

# {task, which is the signature's name: (its inputs, those it may have as well, outputs the page shows,
# the signature that says where in the image the answer lies)}
_IMAGE = {"image_bytes": "string"}
_TASKS = {
    "verify": ({"image_bytes_1": "string", "image_bytes_2": "string"}, {},
               {"score", "probability", "decision", "threshold"}, None),
    "search": (_IMAGE, {}, {"identities", "scores", "entries", "unknown"}, None),
    "detect": (_IMAGE, {}, {"score", "probability", "decision", "threshold"}, "fake_map"),
    "classify": (_IMAGE, {}, {"probabilities", "classes", "label", "decision", "abstain"}, "explain"),
    "restore": (_IMAGE, {"scale": "int32"}, {"image_bytes"}, None),
    "generate": ({"seed": "int64"}, {"label": "int32"}, {"image_bytes"}, None),
    "embed": (_IMAGE, {}, {"embedding"}, None),
}  # fmt: skip


class DemoPage(Rest):
    """The HTTP server of the page; answers from `start` to `stop`.

    Args:    manager: serving.models.Manager, which says what models there are.  calls, requests, host, port: see Rest.
             timeout: seconds a question may wait for its batch.
    Raises:  OSError where the port cannot be listened on.
    """

    def __init__(self, manager, calls, requests, host, port, timeout=30.0):
        pages = {path: functools.partial(_file, *file) for path, file in FILES.items()}
        pages["/models"] = lambda: ("application/json", json.dumps(offered(manager)).encode())
        super().__init__(calls, requests, host, port, THREADS, timeout, pages=pages, body_bytes=UPLOAD_BYTES)
        self._host = host

    def _answered(self, environ, headers):
        headers += HEADERS
        name = _host_name(environ.get("HTTP_HOST", ""))
        # Whoever owns another name may let it lead here; to a browser this server is then a part of their own page.
        own = not name or _is_address(name) or name in ("localhost", self._host.lower()) or name in _own_names()
        if not own:
            told = f"{name} is no name of this server; open it by localhost, its IP address or {socket.gethostname()}."
            return failure("403 Forbidden", told)
        return super()._answered(environ, headers)

    def _routed(self, verb, path, environ):
        origin = environ.get("HTTP_ORIGIN")
        # A page of another origin could not read the answer, but make the server work for it.
        if origin and urllib.parse.urlsplit(origin).netloc != environ.get("HTTP_HOST"):
            told = f"A page of {origin} asks but only this server's own may; open that one."
            raise StatusError(Code.PERMISSION_DENIED, told)
        return super()._routed(verb, path, environ)


def offered(manager):
    """What the page is told of all models: JSON as in the module's docstring; versions are strings, newest first."""
    return {
        "largest_upload": UPLOAD_BYTES,
        "models": [
            {
                "name": model.name,
                "labels": {label: str(number) for label, number in sorted(model.labels.items())},
                "versions": _versions(manager, model.name),
            }
            for model in manager.models()
        ],
    }


def tasks_of(signatures):
    """{task: what it can do beside the answer} of {signature: {"inputs", "outputs": {name: (dtype, shape)}}}.

    What it can do: the names of optional inputs it takes, and of the signature that draws a map of its answer. A
    signature of a task's name that takes or gives anything else is none.
    """
    found = {}
    for task, (needed, optional, outputs, drawing) in _TASKS.items():
        signature = signatures.get(task)
        if not signature or not outputs <= signature["outputs"].keys():
            continue
        inputs = {name: dtype for name, (dtype, _) in signature["inputs"].items()}
        if not needed.items() <= inputs.items() <= {**needed, **optional}.items():
            continue
        drawn = signatures.get(drawing, {"inputs": {}, "outputs": {}})
        with_map = "map" in drawn["outputs"] and {name: dtype for name, (dtype, _) in drawn["inputs"].items()} == _IMAGE
        found[task] = sorted(inputs.keys() & optional.keys()) + ([drawing] if with_map else [])
    return found


def _versions(manager, name):
    try:
        statuses = manager.statuses(model_pb2.ModelSpec(name=name))
    except StatusError:  # it has none yet
        return []
    versions = []
    for status in statuses:
        if status.state == State.END and not status.status.error_message:  # unloaded long ago
            continue
        signatures = _signatures(manager, name, status.version) if status.state == State.AVAILABLE else {}
        tasks = tasks_of(signatures)
        used = {*tasks, *(extra for extras in tasks.values() for extra in extras), "serving_default"}
        versions.append({
            "version": str(status.version),
            "state": State.Name(status.state),
            "error": status.status.error_message,
            "tasks": tasks,
            "others": sorted(signatures.keys() - used),
        })  # fmt: skip
    return versions


def _signatures(manager, name, number):
    spec = model_pb2.ModelSpec(name=name)
    spec.version.value = number
    try:
        with manager.lease(spec) as (_, servable):
            return {
                key: {"inputs": describe(one.inputs), "outputs": describe(one.outputs)}
                for key, one in servable.definitions.signature_def.items()
                if not key.startswith("__saved_model_")
            }
    except StatusError:  # it went away a moment ago
        return {}


def _host_name(host):
    """The name or address of a Host header, without its port; every browser sends one."""
    return re.sub(r":\d*$", "", host.strip()).strip("[]").rstrip(".").lower()


def _is_address(name):
    try:
        ipaddress.ip_address(name)
        return True
    except ValueError:
        return False


@functools.cache
def _own_names():
    return {socket.gethostname().lower(), socket.getfqdn().lower()}


def _file(name, kind):
    with open(os.path.join(FOLDER, name), "rb") as stream:
        return kind, stream.read()
