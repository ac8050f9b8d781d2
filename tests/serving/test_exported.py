"""What our own exports answer by a server: classifiers by the Classify RPC, and the same as saved_models.predict."""

import os

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, predict_pb2, prediction_service_pb2_grpc

from saved_models import outputs, predict
from saved_models.export import export
from saved_models.signatures import example_of
from serving import inference
from serving.config import ModelConfig
from serving.servable import Servable
from serving.server import Server
from serving.status import Code, StatusError
from tests.serving.toys import png

IMAGES = [png(20 * place, 255 - 20 * place, 7, size=9) for place in range(11)]


class Decoder:
    channels, raw, aligned = 3, False, 0

    def images(self, data):
        def one(encoded):
            return tf.cast(tf.io.decode_png(encoded, 3), tf.float32) / 255.0

        return tf.map_fn(one, data, fn_output_signature=tf.TensorSpec([9, 9, 3]))

    def tensor(self, values):
        return values / 255.0


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    """A version whose `classify` tells three classes by a layer of its own, with a warm-up request."""
    kernel = tf.Variable(np.random.default_rng(0).normal(size=(243, 64)).astype(np.float32))

    def embed(images):
        return {"embedding": tf.reshape(images, [-1, 243]) @ kernel}

    def classify(images):
        probabilities = tf.nn.softmax(embed(images)["embedding"][:, :3])
        names = tf.repeat(tf.constant([["a", "b", "c"]]), tf.shape(probabilities)[0], axis=0)
        return {"probabilities": probabilities, "classes": names}

    entries = {
        "classify": {"function": classify, "images": 1},
        "embed": {"function": embed, "images": 1},
    }
    warmup = {"classify": {"image_bytes": np.array(IMAGES[:1], object)}}
    models = str(tmp_path_factory.mktemp("exported"))
    return export(models, "task", entries, Decoder(), [kernel], {}, warmup=warmup, check=False)


@pytest.fixture(scope="module")
def stub(version):
    models = [ModelConfig("task", os.path.dirname(version))]
    with Server(models, port=0, strict_methods=True) as server, grpc.insecure_channel(server.address) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def classification(images, signature="classify_examples"):
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = "task", signature
    for image in images:
        request.input.example_list.examples.add().MergeFromString(example_of(image))
    return request


def scores_of(response):
    return [[(one.label, np.float32(one.score)) for one in row.classes] for row in response.result.classifications]


def test_a_classifier_answers_the_classify_rpc(version, stub):
    images = IMAGES[:2]
    found = tf.saved_model.load(version).signatures["classify"](image_bytes=tf.constant(images))["probabilities"]
    wanted = [list(zip("abc", row)) for row in found.numpy()]
    assert scores_of(stub.Classify(classification(images), timeout=20)) == wanted
    assert scores_of(inference.classify(Servable(version), classification(images), strict=True)) == wanted
    with pytest.raises(grpc.RpcError, match="method_name to be tensorflow/serving/classify. Was: tensorflow/servi"):
        stub.Classify(classification(images, "classify"), timeout=20)


def test_its_warm_up_is_answered(version):
    assert Servable(version).warm_up() == 2


def test_bytes_that_are_no_example_are_refused(version):
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = "classify_examples"
    for data, said in (
        (b"\xff\xff", "signature classify_examples: an input cannot be parsed"),
        (b"no example", "Could not parse example input"),
    ):
        request.inputs["inputs"].CopyFrom(tf.make_tensor_proto([data]))
        with pytest.raises(StatusError, match=said) as caught:
            Servable(version).predict(request)
        assert caught.value.code == Code.INVALID_ARGUMENT


def test_predict_gives_the_bits_of_the_served_answer_to_the_same_batch(version, stub, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for place, image in enumerate(IMAGES):
        (folder / f"{place:02d}.png").write_bytes(image)

    def served(start, stop):
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "task", "embed"
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(IMAGES[start:stop]))
        return tf.make_ndarray(stub.Predict(request, timeout=20).outputs["embedding"])

    predict.predict(version, folder, str(tmp_path / "out"), "embed", batch=4, rows_per_shard=6)
    found = np.concatenate([part["embedding"] for part in outputs.load(tmp_path / "out")])
    for start, stop in ((0, 4), (4, 6), (6, 10), (10, 11)):
        np.testing.assert_array_equal(found[start:stop], served(start, stop))
    # Another batch changes the last bits: TensorFlow multiplies few rows in another order than many.
    np.testing.assert_allclose(found, served(0, 11), rtol=0, atol=1e-5 * np.abs(found).max())
