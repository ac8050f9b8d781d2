import numpy as np
import pytest
import tensorflow as tf

from saved_models.export import export


class TinyDecoder:
    """Encoded image -> float32 [8, 8, channels] in [0, 1]."""

    channels, raw, aligned = 3, False, 0

    def images(self, data, landmarks=None):
        def one(encoded):
            pixels = tf.io.decode_image(encoded, self.channels, expand_animations=False)
            return self._scale(tf.cast(pixels, tf.float32))
        found = tf.map_fn(one, data, fn_output_signature=tf.TensorSpec([8, 8, self.channels]))
        # An alignment of its own: brighter by the first landmark's x.
        return found if landmarks is None else found + landmarks[:, 0, 0, None, None, None]

    def tensor(self, values):
        return self._scale(values)

    def _scale(self, values):
        return tf.image.resize(values / 255.0, (8, 8))


class TinyModel:
    """Mean-pooled pixels through a dense layer, and everything that `export` takes for it."""

    def __init__(self, seed=0):
        self.decoder = TinyDecoder()
        self.kernel = tf.Variable(np.random.default_rng(seed).normal(size=(3, 4)).astype(np.float32))
        self.variables = [self.kernel]
        self.signatures = {"embed": {"function": self.embed, "images": 1},
                           "verify": {"function": self.verify, "images": 2}}

    def embed(self, images):
        return {"embedding": tf.reduce_mean(images, [1, 2]) @ self.kernel}

    def verify(self, first, second):
        score = tf.reduce_sum(self.embed(first)["embedding"] * self.embed(second)["embedding"], -1)
        return {"score": score, "decision": score > 0.0, "text": tf.strings.join([tf.as_string(score), "\0"])}


def make_png(seed, height=12, width=10):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return tf.io.encode_png(pixels).numpy()


@pytest.fixture
def model():
    return TinyModel()


@pytest.fixture(scope="session")
def png():
    return make_png


@pytest.fixture(scope="session")
def version(tmp_path_factory):
    """A version of task `verification`, written once for all tests that only read it."""
    model = TinyModel()
    image = np.array([make_png(0)], object)
    return export(str(tmp_path_factory.mktemp("models")), "verification", model.signatures, model.decoder,
                  model.variables, {"model_card.md": "# Tiny | AUC 0.9\n\ndata sha256: " + "ab" * 32 + "\n",
                                    "calibration.json": {"threshold": 0.25}},
                  warmup={"embed": {"image_bytes": image}}, check=False)
