"""What the rows of S1 share: the network, its images, our server with and without it, and clients that keep it busy.

Loaded in our environment and in those of the peers: what only one of them has is imported where it is used.
"""

import atexit
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

SIDE, DIMENSION, BATCH = 64, 128, 32
WIDTHS = (16, 32, 64, 128)  # so that 1, 8 and 32 images take 0.6, 1.0 and 2.2 ms of two cores, as S1's goals assume
IMAGES = 64         # different ones, sent in turn
ROOT = pathlib.Path(__file__).resolve().parents[1]


def inputs(requests, clients):
    """uint8 images, the weights of the network, and how much is asked."""
    random = np.random.default_rng(0)
    arrays = {"images": random.integers(0, 256, (IMAGES, SIDE, SIDE, 3), dtype=np.uint8),
              "requests": np.array(requests), "clients": np.array(clients)}
    below = 3
    for place, width in enumerate(WIDTHS):
        kernel = random.standard_normal((3, 3, below, width)) / (9 * below) ** 0.5
        arrays[f"kernel{place}"] = kernel.astype(np.float32)
        below = width
    arrays["last"] = (random.standard_normal((below, DIMENSION)) / below ** 0.5).astype(np.float32)
    return arrays


def network(arrays):
    """tf.Module with `embed`: uint8 [n,64,64,3] -> unit vectors [n,128] by four convolutions of stride 2."""
    import tensorflow as tf

    class Network(tf.Module):
        def __init__(self):
            super().__init__()
            self.kernels = [tf.Variable(arrays[f"kernel{place}"]) for place in range(len(WIDTHS))]
            self.last = tf.Variable(arrays["last"])

        @tf.function(input_signature=[tf.TensorSpec([None, SIDE, SIDE, 3], tf.uint8, name="image")])
        def embed(self, image):
            maps = tf.cast(image, tf.float32) / 127.5 - 1.0
            for kernel in self.kernels:
                maps = tf.nn.leaky_relu(tf.nn.conv2d(maps, kernel, 2, "SAME"), 0.1)
            vectors = tf.matmul(tf.reduce_mean(maps, axis=(1, 2)), self.last)
            return {"embedding": tf.math.l2_normalize(vectors, axis=1)}
    return Network()


def save(arrays, path):
    """The network as a SavedModel."""
    import tensorflow as tf

    module = network(arrays)
    tf.saved_model.save(module, str(path), {"serving_default": module.embed})
    return path


class Busy:
    """Asks `count` times, `clients` requests under way at any time.

    Args:    send: (place, done) starts request `place`; `done(error or None)` is called by any thread at its end.
    Raises:  RuntimeError for the first request that failed.
    """

    def __init__(self, send, count, clients):
        self._send, self._left, self._lock = send, count, threading.Lock()
        self._open, self._error, self._end = 0, None, threading.Event()
        for _ in range(min(clients, count)):
            self._next()
        self._end.wait()
        if self._error:
            raise RuntimeError(f"a request failed: {self._error}")

    def _next(self):
        with self._lock:
            if not self._left or self._error:
                if not self._open:
                    self._end.set()
                return
            self._left -= 1
            self._open += 1
            place = self._left
        self._send(place, self._done)

    def _done(self, error=None):
        with self._lock:
            self._open -= 1
            self._error = self._error or error
        self._next()


class GrpcClient:
    """Sends ready-made messages to one method of a gRPC server."""

    def __init__(self, address, method, messages):
        import grpc

        self.channel = grpc.insecure_channel(address)
        grpc.channel_ready_future(self.channel).result(60)
        self._call, self._messages = self.channel.unary_unary(method), messages

    def ask(self, place):
        return self._call(self._messages[place % len(self._messages)], timeout=60)

    def send(self, place, done):
        future = self._call.future(self._messages[place % len(self._messages)], timeout=60)
        future.add_done_callback(lambda answered: done(answered.exception()))


def predict_messages(images):
    """Serialised PredictRequests of one image each."""
    from tensorflow_serving.apis import predict_pb2

    from serving.values import to_proto

    found = []
    for image in images:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "model"
        request.inputs["image"].CopyFrom(to_proto("image", image[None]))
        found.append(request.SerializeToString())
    return found


class Served:
    """Our server in a process of its own with the network; with `model` False it answers the same without one."""

    METHOD = "/tensorflow.serving.PredictionService/Predict"

    def __init__(self, arrays, model=True):
        self.arrays = arrays
        self.folder = tempfile.TemporaryDirectory()
        folder = pathlib.Path(self.folder.name)
        if model:
            save(arrays, folder / "model" / "1")
            self.process = serve(folder)
        else:
            self.process = _start("benchmarks.serving_work", f"{folder}/port")
        atexit.register(self.close)
        try:
            port = port_when_written(folder / "port", self.process)
            self.client = GrpcClient(f"localhost:{port}", self.METHOD, predict_messages(arrays["images"]))
        except BaseException:
            self.close()
            raise

    def call(self):
        Busy(self.client.send, int(self.arrays["requests"]), int(self.arrays["clients"]))
        return int(self.arrays["requests"])

    def result(self):
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        answers = [predict_pb2.PredictResponse.FromString(self.client.ask(place)) for place in range(IMAGES)]
        return {"embeddings": np.concatenate([tf.make_ndarray(one.outputs["embedding"]) for one in answers])}

    def bound(self):
        """As many requests to a server that answers without a model."""
        if not hasattr(self, "_empty"):
            self._empty = type(self)(self.arrays, model=False)
        return self._empty.call()

    def close(self):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()


def quantile(work, count, share):
    """(1, seconds) that a share of `count` calls of work(place) takes at most, one after the other."""
    taken = []
    for place in range(count):
        started = time.perf_counter()
        work(place)
        taken.append(time.perf_counter() - started)
    return 1, float(np.quantile(taken, share))


def serve(folder, *more):
    """Our server in a process, with batching, of the versions in <folder>/model; it writes its port to <folder>/port.

    Args:    more: further flags.
    """
    (folder / "batching").write_text(
        f"max_batch_size {{ value: {BATCH} }} batch_timeout_micros {{ value: 1000 }} "
        "num_batch_threads { value: 1 } max_enqueued_batches { value: 100 }")
    return _start("serving.server", "--port=0", f"--port_file={folder}/port", "--model_name=model",
                  f"--model_base_path={folder}/model", "--enable_batching",
                  f"--batching_parameters_file={folder}/batching", *more)


def _start(*words):
    return subprocess.Popen([sys.executable, "-m", *words], cwd=ROOT, stdout=subprocess.DEVNULL)


def port_when_written(path, process):
    """The port that a server of ours writes to its --port_file once it is open."""
    deadline = time.monotonic() + 120
    while not path.exists() or not path.read_text().strip():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the server ended with code {process.poll()} or did not start within 120 s")
        time.sleep(0.02)
    return int(path.read_text())


def differ(arrays, ours, peer):
    """The largest difference of a coordinate."""
    return np.abs(ours["embeddings"] - peer["embeddings"]).max()


def main(port_file):
    """Answers Predict with one and the same vector: requests are received, parsed and answered, nothing else."""
    from tensorflow_serving.apis import predict_pb2

    from serving.calls import Calls
    from serving.rpc import GrpcServer, Requests
    from serving.tensors import write_tensor

    vector = np.full((1, DIMENSION), DIMENSION ** -0.5, np.float32)

    class Empty(Calls):
        def __init__(self):
            super().__init__(None)

        async def predict_awaited(self, request, run, aside):
            response = predict_pb2.PredictResponse()
            response.model_spec.name = request.model_spec.name
            write_tensor(vector, response.outputs["embedding"])
            return response

    server = GrpcServer(Empty(), Requests(1))
    port = server.bind("127.0.0.1:0")
    server.start()
    pathlib.Path(f"{port_file}.new").write_text(str(port))
    pathlib.Path(f"{port_file}.new").rename(port_file)
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1])
