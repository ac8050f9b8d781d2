"""What no client should send a server that serves toy, half and gallery: made by number, again and again the same.

Fields left out, doubled, exchanged, given other types, lengths and huge numbers, nested thousands deep; bits and bytes
changed; tensors and tf.Examples whose dtype, shape and values do not agree; images cut and spoilt; JSON bent out of
shape; names, labels, versions and paths that mean another place; images and names for a gallery; model configs that
lie; and plain noise.
"""

import base64
import dataclasses
import functools
import io
import json
import random

import numpy as np
from PIL import Image
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.config import config_message
from serving.values import to_proto
from tests.serving.conformance.models import CLASSIFY, REGRESS, config, entry
from tests.serving.conformance.models import METHODS as EXAMPLE_METHODS
from tests.serving.toys import png
from tests.serving.wire import examples

PREDICTION, MODELS, GALLERIES = ("/tensorflow.serving.PredictionService/", "/tensorflow.serving.ModelService/",
                                 "/few_label_images.GalleryService/")
PREDICT, CLASSIFIED, REGRESSED, MULTI, METADATA = (
    PREDICTION + name for name in ("Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata"))
STATUS, RELOAD = MODELS + "GetModelStatus", MODELS + "HandleReloadConfigRequest"
ENROL, REMOVE = GALLERIES + "Enrol", GALLERIES + "Remove"
METHODS = (PREDICT, CLASSIFIED, REGRESSED, MULTI, METADATA, STATUS, RELOAD, ENROL, REMOVE,
           "/grpc.health.v1.Health/Check", "/no.Such/Call")
# None of them is the name of a model, however a path is read.
TRICKS = ("../toy", "toy/../toy", "..", ".", "/", "toy/1", "/etc/passwd", "../../../../etc/passwd", "toy\0", "toy/",
          "./toy", "%2e%2e/toy", "..%2ftoy", "..\\toy", "toy\n", "\uff0e\uff0e/toy", "\u202etoy", "TOY", "toy" * 30_000,
          "file:///toy")
SOUND = "toy", "half", "gallery", "", "nobody", "{}", "\u00fc" * 200, "toy:predict"
NAMES = *SOUND, *TRICKS
SIGNATURES = ("", "serving_default", "two", "echo", "kinds", "embed", "verify", "ask", "nothing", "../x", "s" * 10_000)
_ASKED = {CLASSIFIED: classification_pb2.ClassificationRequest, REGRESSED: regression_pb2.RegressionRequest}
RED, GREEN = png(250, 3, 9), png(3, 250, 9)      # who is in the gallery
HUGE = (2**31 - 1, 2**31, 2**63 - 1, 2**64 - 1, 0, 1)


@dataclasses.dataclass(frozen=True)
class Input:
    """to: "grpc", what = (method, bytes); "http" or "page", (verb, path, body); "tcp", bytes.  trick: to be refused."""

    to: str
    what: object
    trick: bool = False


class Inputs:
    """Requests by number; the same number, seed and folder give the same one.

    Args:    seed: int.  folder: that of the models, which configs name.
    """

    def __init__(self, seed, folder):
        self._seed, self._folder = seed, str(folder)
        self._images = _images()

    def make(self, number):
        draw = random.Random(self._seed * 1_000_003 + number)
        kinds = {self._bent: 30, self._tensor: 22, self._examples: 12, self._image: 12, self._json: 12, self._trick: 6,
                 self._noise: 4, self._changes: 1.2, self._reload: 0.8}
        return draw.choices([*kinds], [*kinds.values()])[0](draw)

    def _bent(self, draw):
        method, message = self._sound(draw)
        data = message.SerializeToString(deterministic=True)
        data = _mutated(draw, data) if draw.random() < 0.3 else _restructured(draw, data)
        if method != ENROL and draw.random() < 0.1:     # what is to be enrolled would be removed
            method = draw.choice(METHODS)
        return Input("grpc", (method, data))

    def _sound(self, draw):
        """(method, message) that nothing is wrong with, mostly."""
        method = draw.choice((PREDICT, PREDICT, PREDICT, CLASSIFIED, REGRESSED, MULTI, METADATA, STATUS, ENROL, REMOVE))
        if method == PREDICT:
            return method, self._predict(draw)
        if method in (CLASSIFIED, REGRESSED):
            message = _ASKED[method](input=examples(2.0, 4.0))
            message.model_spec.name, message.model_spec.signature_name = "half", draw.choice([*EXAMPLE_METHODS])
            return method, message
        if method == MULTI:
            message = inference_pb2.MultiInferenceRequest(input=examples(2.0))
            for signature in draw.sample([*EXAMPLE_METHODS], draw.randint(1, 3)):
                task = message.tasks.add(method_name=EXAMPLE_METHODS[signature])
                task.model_spec.name, task.model_spec.signature_name = "half", signature
            return method, message
        if method in (ENROL, REMOVE):   # one that changes nothing: the name is there, or is not
            message = predict_pb2.PredictRequest()
            message.model_spec.name = "gallery"
            if method == ENROL:
                message.inputs["image_bytes"].CopyFrom(to_proto("image_bytes", [self._images[0]]))
                message.inputs["identities"].CopyFrom(to_proto("identities", [b"red"]))
            message.inputs["entries"].CopyFrom(to_proto("entries", [b"red/0" if method == ENROL else b"nobody/0"]))
            return method, message
        message = (get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
                   if method == METADATA else get_model_status_pb2.GetModelStatusRequest())
        message.model_spec.name = draw.choice(NAMES[:3])
        return method, message

    def _predict(self, draw):
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "toy", draw.choice(SIGNATURES)
        values = {"x": np.float32([2.0, 5.0]), "a": np.ones([2, 2], np.float32), "b": np.arange(2),
                  "text": [b"a", b"b"], "image_bytes": [draw.choice(self._images)], "image_bytes_1": [self._images[0]],
                  "image_bytes_2": [self._images[1]]}
        names = {"two": ("a", "b"), "echo": ("text",), "embed": ("image_bytes",), "ask": ("image_bytes",),
                 "verify": ("image_bytes_1", "image_bytes_2")}.get(request.model_spec.signature_name, ("x",))
        for name in names:
            request.inputs[name].CopyFrom(to_proto(name, values[name]))
        return request

    def _tensor(self, draw):
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "toy", draw.choice(SIGNATURES[:8])
        sound = self._predict(draw)
        for name in draw.sample(("x", "a", "b", "text", "image_bytes", "image_bytes_1", "image_bytes_2", "y"),
                                draw.randint(0, 3)):
            request.inputs[name].CopyFrom(_odd_tensor(draw))
        if draw.random() < 0.5:     # the right inputs of the right names, so that only the tensors are odd
            request.model_spec.CopyFrom(sound.model_spec)
            request.inputs.clear()
            for name, tensor in sound.inputs.items():
                tensor = _reshaped(draw, tensor) if draw.random() < 0.5 else _odd_tensor(draw, tensor.dtype)
                request.inputs[name].CopyFrom(tensor)
        if draw.random() < 0.2:
            request.output_filter.extend(draw.sample(("y", "row_sums", "nothing", "y"), 2))
        return Input("grpc", (PREDICT, request.SerializeToString(deterministic=True)))

    def _examples(self, draw):
        given = input_pb2.Input()
        kind = draw.choice(("example_list", "example_list", "example_list_with_context"))
        found = getattr(given, kind).examples
        for _ in range(draw.choice((0, 1, 1, 2, 3))):
            _odd_example(draw, found.add())
        if draw.random() < 0.05:
            found.extend([*found] * 200)
        if kind == "example_list_with_context":
            _odd_example(draw, given.example_list_with_context.context)
        signatures = [*EXAMPLE_METHODS, "serving_default", "nothing", ""]
        if draw.random() < 0.3:
            message, method = inference_pb2.MultiInferenceRequest(input=given), MULTI
            for _ in range(draw.randint(0, 3)):
                task = message.tasks.add(method_name=draw.choice((CLASSIFY, REGRESS, "", "tensorflow/serving/predict")))
                task.model_spec.name = draw.choice(("half", "half", "half", "toy", *NAMES))
                task.model_spec.signature_name = draw.choice(signatures)
        else:
            method = draw.choice((CLASSIFIED, REGRESSED))
            message = _ASKED[method](input=given)
            message.model_spec.name = draw.choice(("half", "half", "half", "toy"))
            message.model_spec.signature_name = draw.choice(signatures)
        data = message.SerializeToString(deterministic=True)
        return Input("grpc", (method, _restructured(draw, data) if draw.random() < 0.3 else data))

    def _image(self, draw):
        data = _mutated(draw, draw.choice(self._images))
        if draw.random() < 0.3:
            body = {"signature_name": "embed", "instances": [{"b64": base64.b64encode(data).decode()}]}
            return Input(draw.choice(("http", "page")), ("POST", "/v1/models/toy:predict", json.dumps(body).encode()))
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "toy", draw.choice(("embed", "ask"))
        # Many at once, seldom: small ones that are large together.
        number = draw.choice((1, 2, 3)) if draw.random() < 0.98 else min(5000, 2**22 // max(1, len(data)))
        request.inputs["image_bytes"].CopyFrom(to_proto("image_bytes", [data] * number))
        return Input("grpc", (PREDICT, request.SerializeToString(deterministic=True)))

    def _json(self, draw):
        body = {"signature_name": draw.choice(SIGNATURES), draw.choice(("instances", "inputs", "examples", "context")):
                _odd_json(draw, 4)}
        text = json.dumps(body).encode()
        text = draw.choice((text, text, _mutated(draw, text), b"[" * draw.randint(1, 100_000), b"", b"null",
                            b'{"instances": [' + b"9" * draw.randint(1, 10_000) + b"]}", b'{"instances": [1e999]}',
                            b'{"a":' * draw.randint(1, 5000)))
        method = draw.choice(("predict", "classify", "regress", "PREDICT", "forget"))
        path = f"/v1/models/{draw.choice(('toy', 'half'))}:{method}"
        return Input(draw.choice(("http", "http", "page")), (draw.choice(("POST", "POST", "GET", "PUT")), path, text))

    def _trick(self, draw):
        """A sound request but for a name, a label, a version or a path, which says another place."""
        trick = draw.choice(TRICKS)
        way = draw.randrange(5)
        if way < 3:
            method, message = self._sound(draw)
            specs = [task.model_spec for task in message.tasks] if method == MULTI else [message.model_spec]
            for spec in specs:
                if way == 0 or method in (ENROL, REMOVE):
                    spec.name = trick
                elif way == 1:
                    spec.version_label = trick
                else:
                    spec.version.value = draw.choice((-1, 2**63 - 1, -2**63, 2**40))
            return Input("grpc", (method, message.SerializeToString(deterministic=True)), trick=True)
        if way == 3:
            path = draw.choice(("/v1/models/", "/v1/models/toy/labels/", "/v1/models/toy/versions/")) + trick
            asks = draw.random() < 0.5 and ("POST", ":predict", b'{"instances": [2.0]}')
            verb, more, body = asks or ("GET", draw.choice(("", "/metadata")), b"")
            return Input(draw.choice(("http", "page")), (verb, _quoted(draw, path) + more, body), trick=True)
        path = draw.choice(("/../server.py", "/page.css/../../server.py", "/demo/index.html", "/serving/demo/page.css",
                            "/page.css/", "/..", "/page.css\0", "/./page.js", "/models/..", "/v1/../models",
                            "/../../../../../../etc/passwd", "/monitoring/../v1/models/toy"))
        return Input(draw.choice(("http", "page")), ("GET", _quoted(draw, path), b""), trick=True)

    def _noise(self, draw):
        data = draw.randbytes(draw.randint(1, 2000))
        head = draw.choice((b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n",
                            b"POST /v1/models/toy:predict HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
                            b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
                            b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000))
        return Input("tcp", head + data)

    def _changes(self, draw):
        """What a gallery is to enrol or to lose: guests only, as sound searches ask for the others."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name = draw.choice(("gallery",) * 8 + NAMES)
        names = [f"guest{draw.randrange(5)}".encode(), f"guest/{draw.randrange(100)}".encode(), b"../guest",
                 b"/tmp/guest", b"guest\0", b"\xff\xfe", b"guest\n", b"", b"g" * 1024, b"g" * 1025]
        number, images = draw.choice((0, 1, 1, 1, 2, 3, 1001)), self._images
        if draw.random() < 0.5:
            for name in draw.choice((("identities",), ("entries",), ("identities", "entries"))):
                request.inputs[name].CopyFrom(to_proto(name, draw.choices(names, k=min(number, 3))))
            if draw.random() < 0.3:
                request.inputs["erase"].CopyFrom(to_proto("erase", draw.choice((True, False))))
            method = REMOVE
        else:
            pictures = [draw.choice(images) if draw.random() < 0.5 else _mutated(draw, draw.choice(images))
                        for _ in range(number)] if number <= 3 else images[:1] * number
            for name, values in (("image_bytes", pictures), ("identities", draw.choices(names, k=number)),
                                 ("entries", draw.choices(names, k=number))):
                request.inputs[name].CopyFrom(to_proto(name, values))
            method = ENROL
        for name in ("image_bytes", "identities", "entries", "erase"):
            if draw.random() < 0.1:
                request.inputs[name].CopyFrom(_odd_tensor(draw))
        data = request.SerializeToString(deterministic=True)
        return Input("grpc", (method, _restructured(draw, data) if draw.random() < 0.2 else data))

    def _reload(self, draw):
        """A config of folders below the one of the models, or of none."""
        message = model_management_pb2.ReloadConfigRequest(config=config_message(config_text(self._folder)))
        models = message.config.model_config_list.config
        for model in draw.sample([*models], draw.randint(0, 2)):
            way = draw.randrange(7)
            if way == 0:
                model.name = draw.choice(SOUND)     # a model that was served is told of later, too
            elif way == 1:
                below = f"{self._folder}/"
                model.base_path = draw.choice(("", "toy", "../toy", "bad://toy", below + "toy/../half", below + "toy/1",
                                               below + "absent", below + "port", below + "a" * 5000, below + "toy\0"))
            elif way == 2:
                model.model_version_policy.specific.versions.extend(
                    draw.choice((0, 1, -1, 2**63 - 1)) for _ in range(draw.choice((0, 1, 1000))))
            elif way == 3:
                model.version_labels[draw.choice(NAMES)] = draw.choice((0, 1, -1, 7))
            elif way == 4:
                model.model_platform = draw.choice(("", "pytorch", "tensorflow"))
            elif way == 5:
                model.logging_config.log_collector_config.type = draw.choice(("tfrecord", "", "file"))
                model.logging_config.log_collector_config.filename_prefix = draw.choice(
                    ("", "log", f"{self._folder}/requests", f"{self._folder}/toy/../requests", "/"))
                model.logging_config.sampling_config.sampling_rate = draw.choice((1.0, 0.0, -1.0, float("nan"), 1e30))
            else:
                models.add().CopyFrom(model)
        if draw.random() < 0.1:
            message.config.ClearField("config")
        data = message.SerializeToString(deterministic=True)
        return Input("grpc", (RELOAD, _restructured(draw, data) if draw.random() < 0.4 else data))


def config_text(folder):
    """The models that are served: toy of any signature, half of tf.Examples, gallery of two colours."""
    names = ("toy", "half", "gallery")
    return config([entry(name, f"{folder}/{name}") for name in names])


def _restructured(draw, data, depth=0):
    """A serialised message with fields left out, doubled, exchanged, of other types, lengths and numbers, or nested."""
    fields = _fields(data)
    if not fields or draw.random() < 0.1:
        return _mutated(draw, data)
    for _ in range(draw.choice((1, 1, 2, 3))):
        if not fields:
            break
        place = draw.randrange(len(fields))
        number, kind, value = fields[place]
        how = draw.randrange(9)
        if how == 0:
            del fields[place]
        elif how == 1:
            fields[place:place] = [fields[place]] * draw.choice((1, 1, 2, 1000))
        elif how == 2:
            other = draw.randrange(len(fields))
            fields[place], fields[other] = fields[other], fields[place]
        elif how == 3:
            fields[place] = (draw.choice((1, 2, 3, 4, 15, 1000, 2**29 - 1)), kind, value)
        elif how == 4:      # another type on the wire
            fields[place] = (number, 0, draw.choice(HUGE)) if kind != 0 else (number, 2, draw.randbytes(8))
        elif how == 5 and kind == 0:
            fields[place] = (number, 0, draw.choice(HUGE))
        elif how == 6:      # messages in messages, deeper than any parser goes
            for _ in range(draw.choice((10, 99, 101, 5000))):
                value = _varint(number << 3 | 2) + _varint(len(value)) + value if kind == 2 else b""
            fields[place] = (number, 2, value)
        elif how == 7:
            fields[place] = (number, 3, draw.choice((b"", b"\x0b" * 10_000)))       # groups, which begin and do not end
        elif kind == 2 and depth < 8:
            fields[place] = (number, 2, _restructured(draw, value, depth + 1))
    found = b"".join(_varint(number << 3 | kind) + _written(kind, value) for number, kind, value in fields)
    if draw.random() < 0.05:    # a length that is not there
        found += _varint(1 << 3 | 2) + _varint(draw.choice(HUGE[:4]))
    return found


def _fields(data):
    """[(number, kind on the wire, int or bytes)] of a serialised message; None where it is none."""
    found, place = [], 0
    while place < len(data):
        tag, place = _number(data, place)
        if tag is None or not tag >> 3:
            return None
        if tag & 7 == 0:
            value, place = _number(data, place)
            if value is None:
                return None
        else:
            size = {1: 8, 5: 4}.get(tag & 7)
            if tag & 7 == 2:
                size, place = _number(data, place)
            if size is None or place + size > len(data):
                return None
            value, place = data[place:place + size], place + size
        found.append((tag >> 3, tag & 7, value))
    return found


def _written(kind, value):
    if kind == 0:
        return _varint(value)
    return _varint(len(value)) + value if kind == 2 else value


def _number(data, place):
    """(the varint at a place, the place behind it); (None, ...) where there is none."""
    value = 0
    for step in range(10):
        if place + step >= len(data):
            break
        value |= (data[place + step] & 127) << 7 * step
        if data[place + step] < 128:
            return value, place + step + 1
    return None, place


def _varint(value):
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _quoted(draw, path):
    """A path as it is sent: what cannot be is escaped, and some of what could be."""
    share = draw.choice((0.0, 0.0, 0.2, 1.0))
    return "".join(chr(byte) if 33 <= byte < 127 and (byte == 47 or draw.random() >= share) else f"%{byte:02x}"
                   for byte in path[:5000].encode())


def _mutated(draw, data):
    """Bytes with some of them changed, left out, doubled or put in."""
    found = bytearray(data)
    for _ in range(draw.randint(0, 4)):
        place = draw.randrange(len(found) + 1)
        how = draw.randrange(6)
        if how == 0 and place < len(found):
            found[place] ^= 1 << draw.randrange(8)
        elif how == 1:
            del found[place:place + draw.randint(1, 30)]
        elif how == 2:
            found[place:place] = draw.randbytes(draw.randint(1, 30))
        elif how == 3:
            found[place:place] = found[place:place + draw.randint(1, 200)]
        elif how == 4 and place < len(found):
            found[place] = draw.choice((0, 1, 127, 128, 255))
        elif how == 5:
            del found[place:]
    return bytes(found)


def _reshaped(draw, tensor):
    """A tensor that says it has another shape than its values."""
    found = tensor_pb2.TensorProto()
    found.CopyFrom(tensor)
    del found.tensor_shape.dim[:]
    for _ in range(draw.choice((0, 1, 1, 2, 2, 3, 255))):
        found.tensor_shape.dim.add().size = draw.choice((0, 1, 2, 3, -1, -2, 2**31, 2**62, 10**9))
    if draw.random() < 0.3 and found.tensor_content:
        found.tensor_content = found.tensor_content[:draw.randint(0, len(found.tensor_content))]
    return found


def _odd_example(draw, example):
    """Puts features into a tf.Example, seldom the one that the models of examples ask for."""
    for name in draw.sample(("x", "x", "x", "image", "y", "", "../x"), draw.randint(0, 3)):
        feature = example.features.feature[name]
        kind = draw.randrange(5)
        number = draw.choice((0, 1, 1, 1, 2, 100))
        if kind < 2:
            feature.float_list.value.extend(
                draw.choice((2.0, -0.0, float("nan"), float("inf"), 1e38)) for _ in range(number))
        elif kind == 2:
            feature.int64_list.value.extend(draw.choice((0, 1, -2**63, 2**63 - 1)) for _ in range(number))
        elif kind == 3:
            feature.bytes_list.value.extend(draw.randbytes(draw.randint(0, 20)) for _ in range(number))


def _odd_tensor(draw, dtype=None):
    any_of_all = draw.choice(types_pb2.DataType.values())
    proto = tensor_pb2.TensorProto(dtype=dtype or draw.choice((1, 7, 9, 3, 10, 0, 22, 99, any_of_all)))
    for _ in range(draw.choice((0, 1, 1, 1, 2, 3, 300))):
        proto.tensor_shape.dim.add().size = draw.choice((0, 1, 2, 2, 3, -1, -2, 2**31, 2**62, 1000))
    if draw.random() < 0.1:
        proto.tensor_shape.unknown_rank = True
    for field in draw.sample(("float_val", "int64_val", "string_val", "tensor_content", "double_val", "bool_val",
                              "half_val", "int_val"), draw.randint(0, 2)):
        count = draw.choice((0, 1, 2, 4, 1000))
        if field == "tensor_content":
            proto.tensor_content = draw.randbytes(count * 4)
        elif field == "string_val":
            proto.string_val.extend(draw.randbytes(draw.randint(0, 20)) for _ in range(count))
        elif field in ("float_val", "double_val"):
            odd = (0.0, 1.5, float("nan"), float("inf"), -1e30)
            getattr(proto, field).extend(draw.choice(odd) for _ in range(count))
        else:
            getattr(proto, field).extend(draw.choice((0, 1)) for _ in range(count))
    return proto


def _odd_json(draw, depth):
    kind = draw.randrange(8 if depth else 5)
    if kind == 0:
        return draw.choice((0, 1.5, -1, 10**30, float("nan"), float("inf"), True, None))
    if kind == 1:
        return draw.choice(("a", "", "\ud800", "ü" * 50, "0"))
    if kind == 2:
        return {"b64": draw.choice(("", "AAAA", "%%%", "A", 5, None))}
    if kind == 3:
        return [2.0, 5.0]
    if kind == 4:
        return {"x": 2.0}
    if kind == 5:
        return [_odd_json(draw, depth - 1) for _ in range(draw.randint(0, 4))]
    if kind == 6:
        return {draw.choice(("x", "a", "b", "text", "image_bytes", "b64")): _odd_json(draw, depth - 1)
                for _ in range(draw.randint(0, 3))}
    return [[_odd_json(draw, 0)] * draw.randint(0, 3) for _ in range(draw.randint(0, 3))]


@functools.cache
def _images():
    """Small images of every format, and some that say they are huge."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    found = [png(9, 9, 9)]
    for form in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"):
        stream = io.BytesIO()
        picture.save(stream, form)
        found.append(stream.getvalue())
    huge = bytearray(found[1])
    huge[16:24] = (60_000).to_bytes(4, "big") * 2       # width and height of the PNG
    bomb = io.BytesIO()
    Image.new("L", (12_000, 12_000)).save(bomb, "PNG")  # 144 megapixels in 140 kB
    return [*found, bytes(huge), bomb.getvalue()]
