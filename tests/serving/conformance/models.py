"""The models that the conformance tests ask for, and the config that serves them.

    python -m tests.serving.conformance.models OUT [BASE]

writes OUT/<name>/<version>/ and OUT/models.config. BASE is the folder OUT as the server sees it: "/models", where the
container image expects models, unless it is given.
"""

import os
import sys

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from tests.serving import toys

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
METHODS = {"classify_x": CLASSIFY, "classify_names": CLASSIFY, "flat_scores": CLASSIFY, "one_score": CLASSIFY,
           "regress_x": REGRESS, "regress_flat": REGRESS, "two_values": REGRESS}  # fmt: skip
WARMUP = os.path.join("assets.extra", "tf_serving_warmup_requests")
# {name: what its config says beside name and path}
CONFIG = {
    "toy": 'model_version_policy { all { } } version_labels { key: "stable" value: 1 }',
    "half": "",
    "moving": "",
    "warm": "",
    "keras": "",
    "mirrored": "",
}


class Toy(toys.Toy):
    """With a signature whose batches a test holds, and an output that is named as bytes."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def echo(self, text):
        return {"text": text, "text_bytes": text, "length": tf.strings.length(text)}

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name="file"), tf.TensorSpec([None, None], tf.float32, "x")]
    )
    def held(self, file, x):
        """As slow, of a batch whose first row names a file; `rows` is how many rows ran together."""
        wait = tf.cond(tf.equal(file[0], ""), lambda: 0, lambda: toys.awaited(file[0]))
        with tf.control_dependencies([wait]):
            size = tf.shape(x)[0]
            return {"y": tf.reduce_sum(x, axis=1) / 2.0 + self.offset, "rows": tf.fill([size], size)}

    def functions(self):
        every = super().functions()
        return {name: every[name] for name in ("serving_default", "two", "echo", "kinds", "slow")} | {"held": self.held}


class HalfPlusTwo(tf.Module):
    """y = x / 2 + 2 of numbers and of tf.Examples with the feature "x", and signatures whose outputs do not fit."""

    EXAMPLES = [tf.TensorSpec([None], tf.string, name="inputs")]

    def __init__(self):
        super().__init__()
        self.factor, self.offset = tf.Variable(0.5), tf.Variable(2.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def predict(self, x):
        return {"y": self.factor * x + self.offset}

    @tf.function(input_signature=EXAMPLES)
    def classify_x(self, inputs):
        return {"scores": self._of(inputs)}

    @tf.function(input_signature=EXAMPLES)
    def classify_names(self, inputs):
        scores = tf.concat([self._of(inputs), -self._of(inputs)], axis=1)
        return {"classes": tf.tile(tf.constant([["plus", "minus"]]), [tf.shape(scores)[0], 1]), "scores": scores}

    @tf.function(input_signature=EXAMPLES)
    def flat_scores(self, inputs):
        return {"scores": self._of(inputs)[:, 0]}

    @tf.function(input_signature=EXAMPLES)
    def one_score(self, inputs):
        return {"scores": self._of(inputs)[:1]}

    @tf.function(input_signature=EXAMPLES)
    def regress_x(self, inputs):
        return {"outputs": self._of(inputs)}

    @tf.function(input_signature=EXAMPLES)
    def regress_flat(self, inputs):
        return {"outputs": self._of(inputs)[:, 0]}

    @tf.function(input_signature=EXAMPLES)
    def two_values(self, inputs):
        return {"outputs": tf.tile(self._of(inputs), [1, 2])}

    def _of(self, examples):
        """[n, 1] of serialised tf.Examples."""
        x = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]
        return self.factor * x + self.offset

    def save(self, path):
        functions = {name: getattr(self, name) for name in METHODS}
        tf.saved_model.save(self, str(path), {"serving_default": self.predict, **functions})
        set_methods(path, METHODS)


def set_methods(path, methods):
    """tf.saved_model.save says of every signature that it is for Predict; estimators did not."""
    file = os.path.join(str(path), "saved_model.pb")
    message = saved_model_pb2.SavedModel()
    with open(file, "rb") as stream:
        message.ParseFromString(stream.read())
    for key, method in methods.items():
        message.meta_graphs[0].signature_def[key].method_name = method
    with open(file, "wb") as stream:
        stream.write(message.SerializeToString())


def warmup_file(path, records):
    """Gives a version folder the requests to replay.   Args: records: bytes each; or the bytes of the file itself."""
    os.makedirs(os.path.join(str(path), os.path.dirname(WARMUP)), exist_ok=True)
    file = os.path.join(str(path), WARMUP)
    if isinstance(records, bytes):
        with open(file, "wb") as stream:
            stream.write(records)
    else:
        with tf.io.TFRecordWriter(file) as writer:
            for record in records:
                writer.write(record)


def log_of(kind, request):
    """A serialised PredictionLog with one request; kind: "predict", "classify", ..."""
    log = prediction_log_pb2.PredictionLog()
    getattr(log, f"{kind}_log").request.CopyFrom(request)
    return log.SerializeToString()


def entry(name, folder, more="", platform='model_platform: "tensorflow"'):
    """A model of a config."""
    return f'  config {{ name: "{name}" base_path: "{folder}" {platform} {more} }}\n'


def entries(base):
    """{name: entry} of all models.   Args: base: the folder of their folders, as the server sees it."""
    return {name: entry(name, f"{base}/{name}", more) for name, more in CONFIG.items()}


def config(found):
    """ModelServerConfig as text, of entries."""
    return f"model_config_list {{\n{''.join(found)}}}\n"


def write(out, base="/models"):
    """All models and models.config.   Needs two logical CPUs."""
    out = str(out)
    os.makedirs(out, exist_ok=True)
    Toy(2.0).save(f"{out}/toy/00000001")
    Toy(3.0).save(f"{out}/toy/2", "serving_default")
    HalfPlusTwo().save(f"{out}/half/123")
    for name in ("moving", "warm"):
        Toy(1.0).save(f"{out}/{name}/1", "serving_default")
    _keras().save(f"{out}/keras/1", save_format="tf")
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        mirrored = _keras()
    mirrored.compile("sgd", "mse")
    tf.saved_model.save(mirrored, f"{out}/mirrored/1")
    with open(f"{out}/models.config", "w") as stream:
        stream.write(config(entries(base).values()))


def _keras():
    return tf.keras.Sequential([tf.keras.layers.Dense(2, kernel_initializer="ones", input_shape=(3,), name="d")])


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    write(*sys.argv[1:])
