"""Sends the embedded server what no client should, and sees to it that it lives, answers rightly and stays small.

    python -m tests.serving.fuzz [--inputs=100000] [--seed=0] [--out=docs/serving_fuzz.md]

Inputs are valid requests with bits, bytes, lengths and fields changed, tensors whose dtype, shape and values do not
agree, images cut and spoilt, JSON bent out of shape, names that look like paths, and plain noise on both ports. After
every 500 the server must give the right answer to a sound request; at the end its log must hold no traceback and its
memory must not have grown by more than 400 MB. Every input can be made again from the seed and its number.
"""

import base64
import collections
import dataclasses
import http.client
import io
import json
import pathlib
import random
import re
import socket
import sys
import tempfile
import time

import grpc
import numpy as np
from absl import flags
from PIL import Image
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import classification_pb2, get_model_metadata_pb2, get_model_status_pb2, predict_pb2

from serving.files import require_place, write_whole
from serving.values import to_proto
from tests.serving.toys import Toy, png, start, stop
from tfrecords import command

SERVICE = "/tensorflow.serving.PredictionService/"
METHODS = [SERVICE + name for name in ("Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata")] + [
    "/tensorflow.serving.ModelService/GetModelStatus", "/few_label_images.GalleryService/Enrol", "/no.Such/Call"]
NAMES = ("toy", "", "nobody", "../../etc/passwd", "/", "..", "toy/1", "toy\0", "%2e%2e", "ü" * 200, "a" * 100_000, "{}",
         "toy:predict", "\u202e")
SIGNATURES = ("", "serving_default", "two", "echo", "kinds", "embed", "verify", "ask", "nothing", "../x", "s" * 10_000)
SECONDS = 20.0      # for an answer; the sound request must be answered in it
GROWTH_MB = 400
EVERY = 500


class Inputs:
    """Requests by number; the same number and seed give the same one."""

    def __init__(self, seed):
        self._seed = seed
        self._images = _images()

    def make(self, number):
        """(kind, what to send): ("grpc", (method, bytes)), ("http", (verb, path, body)), or ("tcp", bytes)."""
        draw = random.Random(self._seed * 1_000_003 + number)
        kinds = (self._bent, self._tensor, self._image, self._json, self._name, self._noise)
        return draw.choices(kinds, (30, 25, 15, 18, 8, 4))[0](draw)

    def _bent(self, draw):
        sound = self._sound(draw).SerializeToString()
        return "grpc", (draw.choice(METHODS), _mutated(draw, sound))

    def _sound(self, draw):
        signature = draw.choice(SIGNATURES)
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "toy"
        request.model_spec.signature_name = signature
        values = {"x": np.float32([2.0, 5.0]), "a": np.ones([2, 2], np.float32), "b": np.arange(2),
                  "text": [b"a", b"b"], "image_bytes": [draw.choice(self._images)], "image_bytes_1": [self._images[0]],
                  "image_bytes_2": [self._images[1]]}
        names = {"two": ("a", "b"), "echo": ("text",), "embed": ("image_bytes",), "ask": ("image_bytes",),
                 "verify": ("image_bytes_1", "image_bytes_2")}.get(signature, ("x",))
        for name in names:
            request.inputs[name].CopyFrom(to_proto(name, values[name]))
        return draw.choice((request, request, request, classification_pb2.ClassificationRequest(
            model_spec=request.model_spec), get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=request.model_spec, metadata_field=["signature_def"]),
            get_model_status_pb2.GetModelStatusRequest(model_spec=request.model_spec)))

    def _tensor(self, draw):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "toy"
        request.model_spec.signature_name = draw.choice(SIGNATURES[:8])
        for name in draw.sample(("x", "a", "b", "text", "image_bytes", "image_bytes_1", "image_bytes_2", "y"),
                                draw.randint(0, 3)):
            request.inputs[name].CopyFrom(_odd_tensor(draw))
        if draw.random() < 0.2:
            request.output_filter.extend(draw.sample(("y", "row_sums", "nothing", "y"), 2))
        return "grpc", (METHODS[0], request.SerializeToString())

    def _image(self, draw):
        data = _mutated(draw, draw.choice(self._images))
        if draw.random() < 0.3:
            body = {"signature_name": "embed", "instances": [{"b64": base64.b64encode(data).decode()}]}
            return "http", ("POST", "/v1/models/toy:predict", json.dumps(body).encode())
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "toy", draw.choice(("embed", "ask"))
        request.inputs["image_bytes"].CopyFrom(to_proto("image_bytes", [data] * draw.randint(1, 3)))
        return "grpc", (METHODS[0], request.SerializeToString())

    def _json(self, draw):
        body = {"signature_name": draw.choice(SIGNATURES), draw.choice(("instances", "inputs", "examples", "context")):
                _odd_json(draw, 4)}
        text = json.dumps(body).encode()
        text = draw.choice((text, text, _mutated(draw, text), b"[" * draw.randint(1, 100_000), b"", b"null",
                            b'{"instances": [' + b"9" * draw.randint(1, 10_000) + b"]}", b'{"instances": [1e999]}',
                            b'{"a":' * draw.randint(1, 5000)))
        method = draw.choice(("predict", "classify", "regress", "PREDICT", "forget"))
        return "http", (draw.choice(("POST", "POST", "GET", "PUT")), f"/v1/models/toy:{method}", text)

    def _name(self, draw):
        name = draw.choice(NAMES)
        if draw.random() < 0.5:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name.replace("\ud800", "")
            request.model_spec.signature_name = draw.choice(SIGNATURES)
            if draw.random() < 0.5:
                request.model_spec.version.value = draw.choice((0, 1, -1, 2**63 - 1, -2**63, 7))
            else:
                request.model_spec.version_label = draw.choice(NAMES)
            request.inputs["x"].CopyFrom(to_proto("x", np.float32([1])))
            return "grpc", (draw.choice(METHODS), request.SerializeToString())
        path = "/v1/models/" + "".join(f"%{byte:02x}" if not 33 <= byte < 127 else chr(byte)
                                       for byte in name[:5000].encode())
        path += draw.choice(("", "/versions/1", "/versions/" + "9" * 30, "/versions/-1", "/labels/..", "/metadata",
                             "/../../x", ":predict", "?x=1"))
        return "http", (draw.choice(("GET", "POST")), path, b"{}")

    def _noise(self, draw):
        data = draw.randbytes(draw.randint(1, 2000))
        head = draw.choice((b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n",
                            b"POST /v1/models/toy:predict HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
                            b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
                            b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000))
        return "tcp", head + data


class Sender:
    """Sends inputs to both ports of a server and counts what comes back."""

    def __init__(self, address, rest_port):
        self._address, self._rest_port = address, rest_port
        self._channel = grpc.insecure_channel(address)
        self._connection = None
        self.answers = collections.Counter()

    def send(self, kind, what):
        self.answers[f"{kind} {getattr(self, f'_{kind}')(what)}"] += 1

    def require_sound(self):
        """Raises: RuntimeError where a sound request is not answered rightly, on either port."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "toy"
        request.inputs["x"].CopyFrom(to_proto("x", np.float32([2, 5])))
        try:
            data = self._channel.unary_unary(METHODS[0])(request.SerializeToString(), timeout=SECONDS)
        except grpc.RpcError as error:
            raise RuntimeError(f"a sound request is refused: {error.code().name} {error.details()}") from None
        if list(predict_pb2.PredictResponse.FromString(data).outputs["y"].float_val) != [3.0, 4.5]:
            raise RuntimeError("a sound request is answered wrongly")
        status = self._http(("POST", "/v1/models/toy:predict", b'{"instances": [2.0, 5.0]}'))
        if status != 200:
            raise RuntimeError(f"a sound REST request is answered with {status}")

    def close(self):
        self._channel.close()
        if self._connection:
            self._connection.close()

    def _grpc(self, what):
        method, data = what
        try:
            self._channel.unary_unary(method)(data, timeout=SECONDS)
            return "OK"
        except grpc.RpcError as error:
            return error.code().name

    def _http(self, what):
        verb, path, body = what
        for attempt in (0, 1):
            try:
                if self._connection is None:
                    self._connection = http.client.HTTPConnection("127.0.0.1", self._rest_port, timeout=SECONDS)
                self._connection.putrequest(verb, path, skip_accept_encoding=True)
                self._connection.putheader("Content-Length", str(len(body)))
                self._connection.endheaders(body)
                answer = self._connection.getresponse()
                answer.read()
                return answer.status
            except (http.client.HTTPException, OSError) as error:
                self._connection.close()
                self._connection = None
                if isinstance(error, http.client.InvalidURL) or attempt:
                    return type(error).__name__
        return None

    def _tcp(self, data):
        port = self._rest_port if data[:1] in (b"G", b"P") and data[:3] != b"PRI" else int(self._address.split(":")[1])
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
                connection.settimeout(0.05)
                connection.sendall(data)
                connection.recv(1000)
            return "closed"
        except OSError as error:
            return type(error).__name__


def fuzz(address, rest_port, inputs, seed, alive=lambda: True, tell=lambda text: None):
    """Sends inputs 0 to `inputs` - 1.   Returns: Counter of the answers.   Raises: RuntimeError with the number."""
    made, sender = Inputs(seed), Sender(address, rest_port)
    try:
        for number in range(inputs):
            sender.send(*made.make(number))
            if number % EVERY == EVERY - 1 or number == inputs - 1:
                if not alive():
                    raise RuntimeError(f"the server died at one of the inputs {number - EVERY + 1} to {number}")
                try:
                    sender.require_sound()
                except RuntimeError as error:
                    raise RuntimeError(f"behind input {number} of seed {seed}: {error}") from None
                tell(f"{number + 1:,} of {inputs:,}")
        return sender.answers
    finally:
        sender.close()


@dataclasses.dataclass
class Found:
    """What came of it: Counter of the answers, tracebacks in the server's log, its memory."""

    answers: collections.Counter
    tracebacks: int
    seconds: float
    before_mb: float
    after_mb: float


def run(folder, inputs, seed, tell=lambda text: None):
    """Starts a server with a toy in `folder` and sends it inputs.   Returns: Found.   Raises: as fuzz."""
    Toy(2.0).save(folder / "toy" / "1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        rest_port = free.getsockname()[1]
    running = start([f"--model_base_path={folder}/toy", "--model_name=toy", f"--rest_api_port={rest_port}",
                     "--enable_batching"], folder)
    try:
        before, began = _memory_mb(running.process.pid), time.monotonic()
        answers = fuzz(running.address, rest_port, inputs, seed, lambda: running.process.poll() is None, tell)
        seconds, after = time.monotonic() - began, _memory_mb(running.process.pid)
        tracebacks = len(re.findall("Traceback", running.log.read_text()))
    finally:
        stop(running)
    return Found(answers, tracebacks, seconds, before, after)


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


def _odd_tensor(draw):
    any_of_all = draw.choice(types_pb2.DataType.values())
    proto = tensor_pb2.TensorProto(dtype=draw.choice((1, 7, 9, 3, 10, 0, 22, 99, any_of_all)))
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


# ---- Command


def define_flags():
    flags.DEFINE_integer("inputs", 100_000, "How many to send.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Another one makes others.")
    flags.DEFINE_string("out", None, "File that gets what came back, as Markdown.")


def main(argv):
    del argv
    values = flags.FLAGS
    if values.out:
        require_place("out", values.out)
    with tempfile.TemporaryDirectory() as folder:
        found = run(pathlib.Path(folder), values.inputs, values.seed, lambda text: print(text, file=sys.stderr))
    lines = [f"`python -m tests.serving.fuzz --inputs={values.inputs} --seed={values.seed}`: {values.inputs:,} inputs "
             f"in {found.seconds:.0f} s; the server lives and answers rightly, {found.tracebacks} tracebacks in its "
             f"log, memory {found.before_mb:.0f} MB before, {found.after_mb:.0f} MB after.", "", "| answer | inputs |",
             "|---|---|", *(f"| {name} | {count:,} |" for name, count in sorted(found.answers.items()))]
    text = "# Fuzzing the embedded server\n\n" + "\n".join(lines) + "\n"
    print(text)
    if values.out:
        write_whole("out", values.out, lambda stream: stream.write(text.encode()))
    if found.tracebacks or found.after_mb - found.before_mb > GROWTH_MB:
        sys.exit(1)


def _memory_mb(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


if __name__ == "__main__":
    command.run(main, define_flags)
