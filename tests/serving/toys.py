"""Tiny models and server processes for the tests of serving."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import tensorflow as tf

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


class Encoder(tf.Module):
    """Mean colour as embedding."""

    def __init__(self, offset=0.0):
        super().__init__()
        self.offset = tf.Variable(float(offset))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def embed(self, image_bytes):
        return {"embedding": self._vectors(image_bytes)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="image_bytes_1"),
            tf.TensorSpec([None], tf.string, name="image_bytes_2"),
        ]
    )
    def verify(self, image_bytes_1, image_bytes_2):
        score = tf.reduce_sum(self._vectors(image_bytes_1) * self._vectors(image_bytes_2), axis=1)
        return {
            "score": score,
            "probability": tf.sigmoid(score),
            "decision": score > 0.9,
            "threshold": tf.fill(tf.shape(score), 0.9),
        }

    def _vectors(self, image_bytes):
        def decode(data):
            return tf.reduce_mean(
                tf.cast(tf.io.decode_image(data, 3, expand_animations=False), tf.float32), [0, 1]
            )

        colours = tf.map_fn(decode, image_bytes, fn_output_signature=tf.TensorSpec([3], tf.float32))
        return tf.math.l2_normalize(colours + 1.0, axis=1)

    def save(self, path, *names):
        every = self.functions()
        tf.saved_model.save(self, str(path), {name: every[name] for name in names or every})

    def functions(self):
        return {"embed": self.embed, "verify": self.verify}


class Toy(Encoder):
    """Signatures of every kind a request can get wrong. `offset` tells versions apart: y = x / 2 + offset."""

    KINDS = ("float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16",
             "uint32", "uint64", "bool", "complex64", "complex128")  # fmt: skip

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def half_plus(self, x):
        return {"y": x / 2.0 + self.offset}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 2], tf.float32, name="a"),
            tf.TensorSpec([None], tf.int64, name="b"),
        ]
    )
    def two(self, a, b):
        return {"row_sums": tf.reduce_sum(a, axis=1), "double": 2 * b, "text": tf.strings.as_string(b)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def echo(self, text):
        return {"text": text, "length": tf.strings.length(text)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def kinds(self, x):
        return {name: tf.cast(x, name) for name in self.KINDS}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def ask(self, image_bytes):
        return {"embedding": tf.reverse(self._vectors(image_bytes), [1])}

    @tf.function(input_signature=[tf.TensorSpec([], tf.string, name="file")])
    def slow(self, file):
        """Writes <file>.begun and answers once <file> exists, so that a test decides how long it takes."""
        with tf.control_dependencies([awaited(file)]):
            return {"offset": tf.identity(self.offset)}

    def functions(self):
        return {
            "serving_default": self.half_plus,
            "two": self.two,
            "echo": self.echo,
            "kinds": self.kinds,
            "slow": self.slow,
            "ask": self.ask,
            **super().functions(),
        }


def awaited(file):
    """Writes <file>.begun; an operation that ends once <file> exists."""

    def missing(_):
        return tf.equal(tf.size(tf.io.matching_files(file)), 0)

    with tf.control_dependencies([tf.io.write_file(file + ".begun", "")]):
        return tf.while_loop(missing, lambda count: count + 1, [tf.constant(0)])[0]


def _pixels(data):
    return tf.cast(tf.io.decode_image(data, 3, expand_animations=False), tf.float32) / 255.0


class Detector(tf.Module):
    """Red is fake: the score is the mean of the red channel, the map the channel itself on 6 x 8 cells."""

    SIGNATURE = [tf.TensorSpec([None], tf.string, name="image_bytes")]

    @tf.function(input_signature=SIGNATURE)
    def detect(self, image_bytes):
        score = tf.map_fn(
            lambda data: tf.reduce_mean(_pixels(data)[..., 0]), image_bytes, fn_output_signature=tf.float32
        )
        return {
            "score": score,
            "probability": tf.sigmoid(score),
            "decision": score >= 0.25,
            "threshold": tf.fill(tf.shape(score), 0.25),
        }

    @tf.function(input_signature=SIGNATURE)
    def fake_map(self, image_bytes):
        cells = tf.TensorSpec([6, 8], tf.float32)
        return {
            "map": tf.map_fn(
                lambda data: tf.image.resize(_pixels(data), [6, 8])[..., 0], image_bytes, fn_output_signature=cells
            )
        }

    def save(self, path):
        tf.saved_model.save(self, str(path), {"detect": self.detect, "fake_map": self.fake_map})


class Diagnoser(tf.Module):
    """The more of a colour, the more probable its class, up to 0.8; below 0.6 it abstains; the map is the colour's."""

    CLASSES = ("pneumonia", "normal", "effusion")  # of red, green, blue
    SIGNATURE = [tf.TensorSpec([None], tf.string, name="image_bytes")]

    @tf.function(input_signature=SIGNATURE)
    def classify(self, image_bytes):
        probabilities = self._probabilities(image_bytes)
        decision = tf.argmax(probabilities, axis=1, output_type=tf.int32)
        most = tf.reduce_max(probabilities, axis=1)
        return {
            "probabilities": probabilities,
            "classes": tf.tile(tf.constant([self.CLASSES]), [tf.shape(probabilities)[0], 1]),
            "label": tf.gather(tf.constant(self.CLASSES), decision),
            "decision": decision,
            "abstain": most < 0.6,
            "uncertainty": 1.0 - most,
        }

    @tf.function(input_signature=SIGNATURE)
    def explain(self, image_bytes):
        def evidence(data_and_decision):
            data, decision = data_and_decision
            return tf.gather(tf.image.resize(_pixels(data), [6, 8]), decision, axis=-1)

        decision = tf.argmax(self._probabilities(image_bytes), axis=1, output_type=tf.int32)
        cells = tf.TensorSpec([6, 8], tf.float32)
        return {"map": tf.map_fn(evidence, (image_bytes, decision), fn_output_signature=cells)}

    @tf.function(input_signature=SIGNATURE)
    def embed(self, image_bytes):
        return {"embedding": self._probabilities(image_bytes)}

    @staticmethod
    def _probabilities(image_bytes):
        colours = tf.map_fn(
            lambda data: tf.reduce_mean(_pixels(data), [0, 1]),
            image_bytes,
            fn_output_signature=tf.TensorSpec([3], tf.float32),
        )
        return (colours + 0.1) / (tf.reduce_sum(colours, axis=1, keepdims=True) + 0.3)

    def save(self, path):
        functions = {"classify": self.classify, "explain": self.explain, "embed": self.embed}
        tf.saved_model.save(self, str(path), {"serving_default": self.classify, **functions})


class Generator(tf.Module):
    """Noise of 28 x 20 pixels from its seed; of a conditional one all of it is as bright as the class says."""

    SEED = tf.TensorSpec([None], tf.int64, name="seed")

    @tf.function(input_signature=[SEED])
    def of_seeds(self, seed):
        return {"image_bytes": tf.map_fn(self._image, seed, fn_output_signature=tf.string)}

    @tf.function(input_signature=[SEED, tf.TensorSpec([None], tf.int32, name="label")])
    def of_classes(self, seed, label):
        with tf.control_dependencies([tf.debugging.assert_less(label, 3, message="`label` is not below 3 classes.")]):
            return {
                "image_bytes": tf.map_fn(
                    lambda pair: tf.io.encode_png(tf.fill([28, 20, 1], tf.cast(pair[0] % 7 + 50 * pair[1], tf.uint8))),
                    (seed, tf.cast(label, tf.int64)),
                    fn_output_signature=tf.string,
                )
            }

    @staticmethod
    def _image(seed):
        noise = tf.random.stateless_uniform([28, 20, 3], tf.stack([seed, 0]), maxval=256, dtype=tf.int32)
        return tf.io.encode_png(tf.cast(noise, tf.uint8))

    def save(self, path, conditional=False):
        tf.saved_model.save(self, str(path), {"generate": self.of_classes if conditional else self.of_seeds})


class Restorer(tf.Module):
    """Every pixel becomes a square of `scale` pixels' side; 3 is a scale it does not know, 0 asks for its own, 4."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes"),
                                  tf.TensorSpec([None], tf.int32, name="scale")])  # fmt: skip
    def restore(self, image_bytes, scale):
        known = tf.debugging.assert_none_equal(scale, 3, message="`scale` is 3 but must be 1, 2 or 4.")
        with tf.control_dependencies([known]):
            return {"image_bytes": tf.map_fn(self._enlarged, (image_bytes, scale), fn_output_signature=tf.string)}

    @staticmethod
    def _enlarged(image_and_scale):
        image, scale = image_and_scale
        scale = tf.where(scale == 0, 4, scale)
        pixels = tf.io.decode_image(image, 3, expand_animations=False)
        return tf.io.encode_png(tf.repeat(tf.repeat(pixels, scale, axis=0), scale, axis=1))

    def save(self, path):
        tf.saved_model.save(self, str(path), {"restore": self.restore})


def png(red, green, blue, size=4):
    return tf.io.encode_png(
        tf.ones([size, size, 1], tf.uint8) * tf.constant([red, green, blue], tf.uint8)
    ).numpy()


@dataclasses.dataclass
class Running:
    process: subprocess.Popen
    address: str
    models: object
    log: object


def start(arguments, folder):
    """`python -m serving.server` on a free port; waits for its port file."""
    port_file, log = folder / "port", folder / "log"
    with open(log, "w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving.server", "--port=0", f"--port_file={port_file}", *arguments],
            cwd=ROOT,
            env=environment(),
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    deadline = time.monotonic() + 60
    while not port_file.exists():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    return Running(process, f"localhost:{port_file.read_text().strip()}", None, log)


def environment():
    """Without the settings of the tests' own process: a command has to be quiet by itself."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ("TF_CPP_MIN_LOG_LEVEL", "GRPC_VERBOSITY")
    }


def run_process(module, *arguments):
    """A command as its user starts it: (exit code, stdout, stderr)."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=100,
    )
    return done.returncode, done.stdout, done.stderr


def stop(running, number=signal.SIGTERM):
    if running.process.poll() is None:
        running.process.send_signal(number)
    try:
        return running.process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        running.process.kill()
        raise


def until(condition, seconds=15.0):
    """Polls; the last value, which the caller asserts on."""
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.03)
    return value
