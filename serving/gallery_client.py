"""Changes a gallery on a running embedded server: in come images with names, out goes the version that serves them."""

import json

import grpc
import numpy as np
from tensorflow_serving.apis import predict_pb2

from saved_models.signatures import encoded_image
from serving.channel import Connection
from serving.errors import Unimplemented, error_of
from serving.galleries import MOST_IMAGES, SERVICE
from serving.values import from_proto, to_proto

REQUEST_BYTES = 64 * 2**20  # of the images of a request
SECONDS = 300.0  # to wait until the new version serves; embedding a thousand images takes a while


class GalleryClient:
    """Enrols, removes and erases on one gallery; each change is a new version, served when the call returns.

    Args:    server: "host:port" or "unix:/path", run with --enable_gallery_changes; or a Connection, which stays open
             when the client is closed.  gallery: name of the model.  timeout: seconds a change.
    Raises:  ValueError for bad arguments; ServingError and its subclasses for what the server answers.
    """

    def __init__(self, server="localhost:8500", gallery="gallery", timeout=SECONDS):
        self._own = None if isinstance(server, Connection) else Connection(server)
        self._connection, self._gallery, self._timeout = self._own or server, gallery, timeout
        self._calls = {name: self._connection.method(f"/{SERVICE}/{name}", predict_pb2.PredictRequest,
                                                     predict_pb2.PredictResponse) for name in ("Enrol", "Remove")}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self._own is not None:
            self._own.close()

    def enrol(self, entries, keep=None):
        """{"version", "count", "identities", "skipped": [(entry, why)]} once all of them are found by a search.

        Args:    entries: iterable of (identity, entry name, image); an image is a path, its bytes, or a function that
                 reads them. They are sent 1,000 or 64 MB a request, a version each.
                 keep: versions that stay, the new one among them; None = as many as the server says, 2.
        """
        answer, skipped = None, []
        for identities, names, images in _requests(entries):
            answer = self._change("Enrol", keep, image_bytes=images, identities=identities, entries=names)
            skipped += answer["skipped"]
        if answer is None:
            raise ValueError("No image to enrol; give at least one (identity, entry name, image).")
        return {**answer, "skipped": skipped}

    def remove(self, identities=(), entries=(), keep=None):
        """{"version", "count", "identities"}; the versions that stay still hold what is removed.   Args: as enrol."""
        return self._change("Remove", keep, identities=list(identities), entries=list(entries))

    def erase(self, identities=(), entries=()):
        """As remove, but for good: the older versions go, and `proof` says what was searched for the vectors.

        Asked again after an error, it goes on where it ended.
        """
        return self._change("Remove", erase=True, identities=list(identities), entries=list(entries))

    def _change(self, name, keep=None, erase=False, **texts):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._gallery
        for key, values in filter(lambda pair: pair[1], texts.items()):
            encoded = [one.encode("utf-8", "surrogateescape") if isinstance(one, str) else one for one in values]
            request.inputs[key].CopyFrom(to_proto(key, encoded))
        if erase:
            request.inputs["erase"].CopyFrom(to_proto("erase", True))
        if keep is not None:
            request.inputs["keep"].CopyFrom(to_proto("keep", np.int64(keep)))
        asked = f"Server {self._connection.server}, gallery {self._gallery}: "
        try:
            # Never twice: what the first attempt has written would be refused by the second.
            response = self._connection.call(self._calls[name], request, self._timeout, retried=False)
        except grpc.RpcError as error:
            code, said = error.code().name, error.details() or "no reason given"
            if code == "UNIMPLEMENTED":
                raise Unimplemented(
                    code, "it takes no changes of galleries; start the embedded server with --enable_gallery_changes "
                    "or use `python -m serving.gallery` with --gallery=DIR where the folder lies", asked
                ) from error  # fmt: skip
            raise error_of(code, said, asked) from error
        outputs = {key: from_proto(key, proto) for key, proto in response.outputs.items()}
        found = {key: int(outputs[key]) for key in ("version", "count", "identities")}
        found["skipped"] = [tuple(text.decode("utf-8", "replace") for text in row) for row in outputs["skipped"]]
        if "proof" in outputs:
            found["proof"] = json.loads(outputs["proof"][0])
        return found


def _requests(entries):
    """(identities, entry names, images) of each request."""
    rows, size = [], 0
    for identity, name, image in entries:
        data = encoded_image(image() if callable(image) else image)
        if rows and (len(rows) == MOST_IMAGES or size + len(data) > REQUEST_BYTES):
            yield tuple(map(list, zip(*rows)))
            rows, size = [], 0
        rows.append((identity, name, data))
        size += len(data)
    if rows:
        yield tuple(map(list, zip(*rows)))
