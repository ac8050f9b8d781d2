"""Galleries changed over the wire: in come images to enrol and names to remove, out goes the version that serves then.

The service is ours, not TF Serving's, which writes nothing; its messages are PredictRequest and PredictResponse:

    /few_label_images.GalleryService/Enrol   image_bytes, identities, entries (string [n])
    /few_label_images.GalleryService/Remove  identities, entries (string), erase (bool, scalar)

Answered once the new version serves: `version` (int64), `count` entries and `identities` in it, and `skipped` (string
[m, 2]: entry, why), the images that were not enrolled. `erase` removes the older versions as well and answers with
`proof`, the JSON text of saved_models.erasure.proof.
"""

import json
import os
import threading

import grpc
import numpy as np
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import predict_pb2

from saved_models import erasure, gallery, versions
from serving.status import Code, StatusError, invalid
from serving.tensors import read_tensor, text_array, write_tensor

SERVICE = "few_label_images.GalleryService"
MOST_IMAGES = 1000  # a request
NAME_BYTES = 1024


class Galleries:
    """Changes the galleries that a Manager serves; one change of a gallery after the other.

    Args:    manager: serving.models.Manager, whose folders may be written to.
    """

    def __init__(self, manager):
        self._manager = manager
        self._lock, self._locks = threading.Lock(), {}

    def enrol(self, request, timeout=None):
        """PredictRequest -> PredictResponse.   Raises: StatusError; nothing has changed then."""
        images, identities, entries = (_strings(request, name) for name in ("image_bytes", "identities", "entries"))
        if not 1 <= len(images) == len(identities) == len(entries) <= MOST_IMAGES:
            raise invalid(
                f"`image_bytes` holds {len(images)}, `identities` {len(identities)} and `entries` {len(entries)} items "
                f"but they must be as many, 1 to {MOST_IMAGES:,}; send the rest in another request."
            )
        names = [(_name("identities", one), _name("entries", other)) for one, other in zip(identities, entries)]
        new = [(identity, entry, image) for (identity, entry), image in zip(names, images)]
        return self._changed(request, timeout, lambda path: (gallery.enrol(path, new, check=False), None))

    def remove(self, request, timeout=None):
        """PredictRequest -> PredictResponse.   Raises: StatusError; nothing has changed then."""
        identities, entries = ([_name(name, one) for one in _strings(request, name)] for name in
                               ("identities", "entries"))  # fmt: skip
        erase = _scalar(request, "erase", types_pb2.DT_BOOL, False)

        def change(path):
            models, task = os.path.split(os.path.dirname(path))
            vectors = erasure.vectors_of(models, task, identities, entries) if erase else None
            return gallery.remove(path, identities, entries, check=False), vectors

        return self._changed(request, timeout, change)

    def _changed(self, request, timeout, change):
        spec = request.model_spec
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        if spec.WhichOneof("version_choice"):
            raise invalid("A version or label is named but it is the newest version of a gallery that is changed.")
        self._manager.folder(spec)  # a model that is not served gets no lock
        with self._lock:
            own = self._locks.setdefault(spec.name, threading.Lock())
        with own:
            path = self._manager.folder(spec)
            if gallery.read_facts(path) is None:
                raise StatusError(
                    Code.FAILED_PRECONDITION, f"Model {spec.name} is no gallery; name one built by serving.gallery"
                )
            try:
                written, vectors = change(path)
            except ValueError as error:
                raise invalid(str(error)) from error
            except OSError as error:
                raise StatusError(Code.RESOURCE_EXHAUSTED, f"The gallery cannot be written: {error}") from error
            new = int(os.path.basename(written))
            self._manager.wait_for(spec.name, new, timeout)
            response = predict_pb2.PredictResponse()
            if vectors is not None:
                models, task = os.path.split(os.path.dirname(written))
                versions.keep(models, task, 1)
                self._manager.wait_for(spec.name, new, timeout, alone=True)
                _put(response, "proof", text_array([json.dumps(erasure.proof(models, task, vectors)).encode()]))
        facts = gallery.read_facts(written)
        response.model_spec.name = spec.name
        response.model_spec.version.value = new
        _put(response, "version", np.array(new, np.int64))
        for name in ("count", "identities"):
            _put(response, name, np.array(facts[name], np.int64))
        skipped = [(one["path"], one["reason"]) for one in facts.get("skipped", {}).get("unreadable", ())]
        flat = text_array([text.encode("utf-8", "replace") for pair in skipped for text in pair])
        _put(response, "skipped", flat.reshape(-1, 2))
        return response


def add_to_server(galleries, answered, server):
    """Registers the service.   Args: answered: (work) -> handler of a gRPC call, see serving.rpc."""
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            answered(work),
            request_deserializer=predict_pb2.PredictRequest.FromString,
            response_serializer=predict_pb2.PredictResponse.SerializeToString,
        )
        for name, work in (("Enrol", galleries.enrol), ("Remove", galleries.remove))
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


def _strings(request, name):
    if name not in request.inputs:
        return []
    proto = request.inputs[name]
    if len(proto.tensor_shape.dim) != 1 or proto.tensor_shape.dim[0].size != len(proto.string_val):
        raise invalid(f"`{name}` must be strings [n].")
    return list(proto.string_val)


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
