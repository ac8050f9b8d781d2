"""S1: embeddings asked for by 32 clients at once, beside litserve and mlserver with the same network."""

import asyncio
import atexit
import base64
import contextlib
import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.error
import urllib.request

import numpy as np

from benchmarks import serving_work as work
from benchmarks.row import Peer, Row

TINY = {"requests": 24, "clients": 4}
ROOT = pathlib.Path(__file__).resolve().parents[1]


class _Server:
    """A peer's server in a process of its own: a script that gets the folder with `arrays.npz` and the port."""

    SCRIPT = ""

    def __init__(self, arrays):
        self.arrays, self.folder = arrays, tempfile.TemporaryDirectory()
        self.path, self.port = pathlib.Path(self.folder.name), _free_port()
        np.savez(self.path / "arrays.npz", **arrays)
        (self.path / "peer.py").write_text(textwrap.dedent(self.SCRIPT))
        self.process = subprocess.Popen(self.command(), cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
        atexit.register(self.close)

    def command(self):
        return [sys.executable, str(self.path / "peer.py"), str(self.path), str(self.port)]

    def wait(self, path, port):
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2).read()
                return
            except (urllib.error.URLError, OSError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the server ended with code {self.process.poll()} or did not start") from None
                time.sleep(0.1)

    def close(self):
        """Ends the server and what it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.folder.cleanup()


class Litserve(_Server):
    """HTTP with JSON, the bytes of an image in base64, as its examples have it; batches of 32 within a millisecond."""

    SCRIPT = """
        import base64, pathlib, sys
        sys.path.insert(0, ".")
        import litserve, numpy as np
        from benchmarks import serving_work as work

        class Api(litserve.LitAPI):
            def setup(self, device):
                self.network = work.network(dict(np.load(pathlib.Path(sys.argv[1]) / "arrays.npz")))

            def decode_request(self, request):
                return np.frombuffer(base64.b64decode(request["image"]), np.uint8).reshape(work.SIDE, work.SIDE, 3)

            def batch(self, inputs):
                return np.stack(inputs)

            def predict(self, images):
                return self.network.embed(images)["embedding"].numpy()

            def unbatch(self, output):
                return list(output)

            def encode_response(self, output):
                return {"embedding": base64.b64encode(output.tobytes()).decode()}

        if __name__ == "__main__":
            api = Api(max_batch_size=work.BATCH, batch_timeout=0.001)
            server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
            server.run(host="127.0.0.1", port=int(sys.argv[2]), log_level="error", generate_client_file=False)
    """

    def __init__(self, arrays):
        super().__init__(arrays)
        self.wait("/health", self.port)
        bodies = [json.dumps({"image": base64.b64encode(image.tobytes()).decode()}) for image in arrays["images"]]
        self.messages = [f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                         f"Content-Length: {len(body)}\r\n\r\n{body}".encode() for body in bodies]

    def call(self):
        asyncio.run(self._ask(int(self.arrays["requests"]), int(self.arrays["clients"])))
        return int(self.arrays["requests"])

    def result(self):
        answers = asyncio.run(self._ask(work.IMAGES, 1))
        vectors = [np.frombuffer(base64.b64decode(json.loads(one)["embedding"]), np.float32) for one in answers]
        return {"embeddings": np.stack(vectors)}

    async def _ask(self, count, clients):
        """The bodies of the answers, by connections that stay open."""
        places, answers = iter(range(count)), [b""] * count

        async def client():
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            for place in places:
                writer.write(self.messages[place % len(self.messages)])
                head = await reader.readuntil(b"\r\n\r\n")
                if b" 200 " not in head[:20]:
                    raise RuntimeError(f"a request failed: {head[:200]}")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                answers[place] = await reader.readexactly(length)
            writer.close()
        await asyncio.gather(*[client() for _ in range(clients)])
        return answers


class Mlserver(_Server):
    """gRPC of the V2 protocol with raw bytes, adaptive batching of 32 within a millisecond, no further process."""

    SCRIPT = """
        import pathlib
        import numpy as np
        import mlserver
        from mlserver.codecs import NumpyCodec
        from benchmarks import serving_work as work

        class Runtime(mlserver.MLModel):
            async def load(self):
                folder = pathlib.Path(__file__).parent
                self.network = work.network(dict(np.load(folder / "arrays.npz")))
                return True

            async def predict(self, payload):
                images = NumpyCodec.decode_input(payload.inputs[0])
                vectors = self.network.embed(images)["embedding"].numpy()
                outputs = [NumpyCodec.encode_output("embedding", vectors)]
                return mlserver.types.InferenceResponse(model_name=self.name, outputs=outputs)
    """

    def __init__(self, arrays):
        super().__init__(arrays)
        from mlserver.grpc import dataplane_pb2 as pb

        self.wait("/v2/health/ready", self.http)
        messages = []
        for image in arrays["images"]:
            tensor = pb.ModelInferRequest.InferInputTensor(name="image", datatype="UINT8", shape=[1, *image.shape])
            request = pb.ModelInferRequest(model_name="model", inputs=[tensor], raw_input_contents=[image.tobytes()])
            messages.append(request.SerializeToString())
        method = "/inference.GRPCInferenceService/ModelInfer"
        self.client, self.pb = work.GrpcClient(f"127.0.0.1:{self.port}", method, messages), pb

    def command(self):
        self.http, metrics = _free_port(), _free_port()
        (self.path / "settings.json").write_text(json.dumps({
            "host": "127.0.0.1", "http_port": self.http, "grpc_port": self.port, "metrics_port": metrics,
            "parallel_workers": 0, "debug": False, "logging_settings": None}))
        (self.path / "model-settings.json").write_text(json.dumps({
            "name": "model", "implementation": "peer.Runtime", "max_batch_size": work.BATCH, "max_batch_time": 0.001}))
        code = ("import os, sys; sys.path[:0] = [os.getcwd(), sys.argv[1]]; folder = sys.argv[1]; "
                "from mlserver.cli.main import main; sys.argv = ['mlserver', 'start', folder]; main()")
        return [sys.executable, "-c", code, str(self.path)]

    def call(self):
        work.Busy(self.client.send, int(self.arrays["requests"]), int(self.arrays["clients"]))
        return int(self.arrays["requests"])

    def result(self):
        answers = [self.pb.ModelInferResponse.FromString(self.client.ask(place)) for place in range(work.IMAGES)]
        return {"embeddings": np.stack([np.frombuffer(one.raw_output_contents[0], np.float32) if one.raw_output_contents
                                        else np.array(one.outputs[0].contents.fp32_contents, np.float32)
                                        for one in answers])}


def _free_port():
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def row(requests=2000, clients=32):
    return Row(
        work=f"{requests} requests of one {work.SIDE} x {work.SIDE} x 3 image each, by {clients} clients at once on "
             f"the server's own cores, for {work.DIMENSION} numbers of four convolutions; batches of {work.BATCH} in "
             "1 ms; limit: gRPC without a model, measured; equal: largest difference of a coordinate",
        unit="requests/s",
        inputs=functools.partial(work.inputs, requests, clients),
        ours=work.Served,
        peers={"litserve": Peer(Litserve, tolerance=1e-5, lock="requirements-serving.txt"),
               "mlserver": Peer(Mlserver, tolerance=1e-5, lock="requirements-serving.txt")},
        headline="litserve",
        equal=work.differ,
    )
