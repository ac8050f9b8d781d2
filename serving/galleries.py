"""Galleries changed over the wire: in come images to enrol and names to remove, out goes the version that serves then.

The service is ours, not TF Serving's, which writes nothing; its messages are PredictRequest and PredictResponse:

    /few_label_images.GalleryService/Enrol   image_bytes, identities, entries (string [n]), keep (integer, scalar)
    /few_label_images.GalleryService/Remove  identities, entries (string), keep (integer, scalar), erase (bool, scalar)

Answered once the new version serves: `version` (int64), `count` entries and `identities` in it, and `skipped` (string
[m, 2]: entry, why), the images that were not enrolled. Then all but the newest `keep` versions are removed, 2 where it
is missing; those that a label or the version policy names stay. `erase` removes all of the older ones, whatever `keep`
says, and answers with `proof`, the JSON text of saved_models.erasure.proof; where only older ones hold the names, it
writes no new version. Where a change was written but does not serve in time, or an erasure has not come to its end, the
answer is an error that says so; the same erasure asked again goes on. A change that waits ends with its client.
"""

import contextlib
import functools
import json
import os
import threading
import time

import numpy as np
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import predict_pb2

from saved_models import changes, erasure, gallery, versions
from serving.status import Code, StatusError, invalid
from serving.tensors import read_tensor, text_array, write_tensor

SERVICE = "few_label_images.GalleryService"
MOST_IMAGES = 1000  # a request
MOST_WAITING = 4  # changes of a gallery beside the one that is made; each holds a thread of the server
NAME_BYTES = 1024
KEEP = 2  # the version before stays, to go back to
CHANGE_SECONDS = 600.0  # a change without a deadline waits no longer, else it would hold up all others for ever
POLL_SECONDS = 0.2  # between two looks whether the client of a change that waits has gone
# Why a wait for a version ended before it served, though nothing is wrong with it.
ENDED = {Code.UNAVAILABLE: "the server goes down", Code.CANCELLED: "whoever asked for it has gone"}


class Galleries:
    """Changes the galleries that a Manager serves; one change of a gallery after the other.

    Args:    manager: serving.models.Manager, whose folders may be written to.
    """

    def __init__(self, manager):
        self._manager = manager
        self._lock, self._turns = threading.Lock(), {}

    def calls(self):
        """{name: (request, timeout, gone) -> response} of the calls of SERVICE; see serving.calls.Calls.reload."""
        return {"Enrol": self.enrol, "Remove": self.remove}

    def enrol(self, request, timeout=None, gone=lambda: False):
        """PredictRequest -> PredictResponse.

        Raises: StatusError; nothing has changed then, unless it says that a version is written.
        """
        images, identities, entries = (_strings(request, name) for name in ("image_bytes", "identities", "entries"))
        if not 1 <= len(images) == len(identities) == len(entries) <= MOST_IMAGES:
            raise invalid(
                f"`image_bytes` holds {len(images)}, `identities` {len(identities)} and `entries` {len(entries)} items "
                f"but they must be as many, 1 to {MOST_IMAGES:,}; send the rest in another request."
            )
        names = [(_name("identities", one), _name("entries", other)) for one, other in zip(identities, entries)]
        new = [(identity, entry, image) for (identity, entry), image in zip(names, images)]
        return self._changed(request, timeout, gone, lambda path: gallery.enrol(path, new, check=False))

    def remove(self, request, timeout=None, gone=lambda: False):
        """PredictRequest -> PredictResponse.

        Raises: StatusError; nothing has changed then, unless it says that a version is written.
        """
        identities, entries = ([_name(name, one) for one in _strings(request, name)] for name in
                               ("identities", "entries"))  # fmt: skip
        if _scalar(request, "erase", types_pb2.DT_BOOL, False):
            return self._changed(request, timeout, gone, lambda path: erasure.plan(path, identities, entries), True)
        change = functools.partial(gallery.remove, identities=identities, entries=entries, check=False)
        return self._changed(request, timeout, gone, change)

    def _changed(self, request, timeout, gone, change, erase=False):
        """The answer to a request, by `change`: path of the newest version -> that of the new one, or the erasure.Plan.
        """
        spec, keep = request.model_spec, _keep(request)
        ends = time.monotonic() + (CHANGE_SECONDS if timeout is None else timeout)

        def left():
            return max(0.0, ends - time.monotonic())

        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        if spec.WhichOneof("version_choice"):
            raise invalid("A version or label is named but it is the newest version of a gallery that is changed.")
        self._manager.folder(spec)  # a model that is not served gets no turn
        with self._turn(spec.name, left(), gone), _told():
            model = self._writable(spec)
            models, task = os.path.split(os.path.abspath(model.base_path))
            with changes.change(os.path.join(models, task), left(), gone) as newest:
                if gallery.read_facts(newest) is None:
                    raise StatusError(
                        Code.FAILED_PRECONDITION, f"Model {spec.name} is no gallery; name one built by serving.gallery"
                    )
                made = change(newest)
                if erase:
                    written, proof = self._erased(spec.name, models, task, made, left, gone)
                else:
                    written, proof = made, None
                    self._serve(spec.name, written, left(), gone)
                    versions.keep(models, task, max(keep, model.latest), spared=self._named(models, task))
        return _answer(spec.name, written, proof)

    def _erased(self, name, models, task, planned, left, gone):
        """(path of the version that is left, proof).   Args: left: () -> seconds."""
        self._require_unnamed(name, models, task, None if planned.writes() else planned.gallery_version)
        written = planned.write(check=False)
        try:
            self._serve(name, written, left(), gone)
            self._require_unnamed(name, models, task, written)  # one may have got a label meanwhile
        except StatusError as error:
            said = f"{error.message} Nothing is erased yet; erase again, which goes on then."
            raise StatusError(error.code, said) from error
        proof = planned.finish()
        try:
            self._serve(name, written, left(), gone, alone=True)
        except StatusError as error:
            said = (f"{proof['vectors']} vectors were erased and are in {len(proof['found'])} of the {proof['files']} "
                    "files that are left, but older versions are still loaded, until their last request is done.")
            raise StatusError(error.code, said) from error
        return written, proof

    def _serve(self, name, written, seconds, gone, alone=False):
        """Until the version that is written serves.   Raises: StatusError."""
        number = int(os.path.basename(written))
        try:
            self._manager.wait_for(name, number, seconds, alone, gone)
        except StatusError as error:
            if error.code in ENDED:
                said = f"Version {number} of model {name} is written but {ENDED[error.code]}."
                error = StatusError(error.code, said)
            raise error from None

    @contextlib.contextmanager
    def _turn(self, name, seconds, gone):
        """Alone with a gallery among the requests of this server, few of which wait for it."""
        with self._lock:
            turn = self._turns.setdefault(name, _Turn())
            if turn.asked > MOST_WAITING:
                raise StatusError(
                    Code.RESOURCE_EXHAUSTED,
                    f"{MOST_WAITING} changes of gallery {name} wait already; ask again when some are done.",
                )
            turn.asked += 1
        try:
            ends = time.monotonic() + seconds
            while not turn.lock.acquire(timeout=min(POLL_SECONDS, max(0.0, ends - time.monotonic()))):
                if gone():
                    raise StatusError(
                        Code.CANCELLED, f"Whoever asked for a change of gallery {name} has gone; nothing has changed."
                    )
                if time.monotonic() >= ends:
                    raise StatusError(
                        Code.DEADLINE_EXCEEDED,
                        f"Other changes of gallery {name} took longer than {seconds:.1f} s; nothing has changed.",
                    )
            try:
                yield
            finally:
                turn.lock.release()
        finally:
            with self._lock:
                turn.asked -= 1

    def _writable(self, spec):
        """The ModelConfig of a gallery of which a new version will be served.   Raises: StatusError."""
        self._manager.folder(spec)  # raises for what is not served any more
        model = self._manager.config(spec.name)
        if model is None or model.policy == "specific":
            raise StatusError(
                Code.FAILED_PRECONDITION,
                f"The version policy of model {spec.name} names the versions it serves, which a new one is not; change "
                "the policy to latest.",
            )
        return model

    def _named(self, models, task):
        """{version: what names it} by the policies and labels of all that is served from a folder."""
        base, found = os.path.join(models, task), {}
        for model in self._manager.models():
            if os.path.abspath(model.base_path) == base:
                found |= {number: f"the policy of model {model.name}" for number in model.versions}
                found |= {number: f'label "{label}" of model {model.name}' for label, number in model.labels.items()}
        return found

    def _require_unnamed(self, name, models, task, stays):
        """Raises: StatusError where somebody may ask by name for a version that an erasure removes.

        Args:   stays: path of the only one that it does not, None where that is not written yet.
        """
        going = set(versions.list_versions(models, task))
        if stays is not None:
            going.discard(int(os.path.basename(stays)))
        for number, by in self._named(models, task).items():
            if number in going:
                raise StatusError(
                    Code.FAILED_PRECONDITION,
                    f"Version {number} of model {name} would be erased but {by} names it; take that away, erase, then "
                    "let it name the version that is left.",
                )


class _Turn:
    """Whose turn it is with a gallery: `asked` requests, of which one may hold the lock."""

    def __init__(self):
        self.lock, self.asked = threading.Lock(), 0


@contextlib.contextmanager
def _told():
    """What goes wrong with a gallery's files, as a StatusError."""
    try:
        yield
    except gallery.Damaged as error:
        raise StatusError(Code.FAILED_PRECONDITION, str(error)) from error
    except ValueError as error:
        raise invalid(str(error)) from error
    except changes.Gone as error:
        raise StatusError(Code.CANCELLED, str(error)) from error
    except FileNotFoundError as error:
        raise StatusError(Code.FAILED_PRECONDITION, f"The gallery cannot be changed: {error}") from error
    except TimeoutError as error:
        raise StatusError(Code.DEADLINE_EXCEEDED, str(error)) from error
    except OSError as error:
        raise StatusError(Code.RESOURCE_EXHAUSTED, f"The gallery cannot be written: {error}") from error


def _answer(name, written, proof):
    response, facts = predict_pb2.PredictResponse(), gallery.read_facts(written)
    number = int(os.path.basename(written))
    response.model_spec.name = name
    response.model_spec.version.value = number
    _put(response, "version", np.array(number, np.int64))
    for key in ("count", "identities"):
        _put(response, key, np.array(facts[key], np.int64))
    read = facts.get("skipped", {}) if proof is None else {}  # an erasure may leave a version of an earlier enrolment
    skipped = [(one["path"], one["reason"]) for one in read.get("unreadable", ())]
    flat = text_array([text.encode("utf-8", "replace") for pair in skipped for text in pair])
    _put(response, "skipped", flat.reshape(-1, 2))
    if proof is not None:
        _put(response, "proof", text_array([json.dumps(proof).encode()]))
    return response


def _strings(request, name):
    if name not in request.inputs:
        return []
    proto = request.inputs[name]
    if len(proto.tensor_shape.dim) != 1 or proto.tensor_shape.dim[0].size != len(proto.string_val):
        raise invalid(f"`{name}` must be strings [n].")
    return list(proto.string_val)


def _keep(request):
    value = int(_scalar(request, "keep", types_pb2.DT_INT64, KEEP))
    if value < 1:
        raise invalid(f"`keep` is {value} but must be at least 1: the new version always stays.")
    return value


def _scalar(request, name, dtype, otherwise):
    """A single value of a request, `otherwise` where it is not sent.   Raises: StatusError for anything else."""
    if name not in request.inputs:
        return otherwise
    info = meta_graph_pb2.TensorInfo(dtype=dtype)
    info.tensor_shape.SetInParent()
    return read_tensor(name, request.inputs[name], info).item()


def _name(kind, value):
    if not 0 < len(value) <= NAME_BYTES:
        raise invalid(f"`{kind}` has a name of {len(value)} bytes but one has 1 to {NAME_BYTES}.")
    return value.decode("utf-8", "surrogateescape")


def _put(response, name, array):
    write_tensor(array, response.outputs[name])
