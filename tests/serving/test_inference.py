"""Classify, Regress and MultiInference of a servable whose outputs are given here."""

import numpy as np
import pytest
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import classification_pb2, inference_pb2, input_pb2, model_pb2, regression_pb2

from serving import inference
from serving.inference import CLASSIFY, REGRESS
from serving.status import Code, StatusError
from serving.tensors import text_array


class Servable:
    """One signature, `key`, with these outputs whatever the input; keeps what it ran on."""

    def __init__(self, key="s", method=CLASSIFY, inputs=("inputs", "string"), **outputs):
        self.key, self.outputs, self.ran = key, outputs, []
        self.definition = meta_graph_pb2.SignatureDef(method_name=method)
        name, dtype = inputs
        self.definition.inputs[name].dtype = types_pb2.DataType.Value(f"DT_{dtype.upper()}")
        for name, value in outputs.items():
            kinds = {"O": types_pb2.DT_STRING, "f": types_pb2.DT_FLOAT, "i": types_pb2.DT_INT64}
            self.definition.outputs[name].dtype = kinds[np.asarray(value).dtype.kind]

    def signature(self, name):
        return name or "s", self.definition if (name or "s") == self.key else None

    def run(self, key, inputs, timeout=None):
        self.ran.append((key, inputs["inputs"], timeout))
        return self.outputs


def given(count=2):
    found = input_pb2.Input()
    for place in range(count):
        found.example_list.examples.add().features.feature["x"].int64_list.value.append(place)
    return found


def classify(servable, signature="", **words):
    spec = model_pb2.ModelSpec(name="m", signature_name=signature)
    request = classification_pb2.ClassificationRequest(model_spec=spec, input=given())
    return inference.classify(servable, request, **words)


def regress(servable, **words):
    request = regression_pb2.RegressionRequest(model_spec=model_pb2.ModelSpec(name="m"), input=given())
    return inference.regress(servable, request, **words)


def refused(call, *arguments, code=Code.INVALID_ARGUMENT, **words):
    with pytest.raises(StatusError) as caught:
        call(*arguments, **words)
    assert caught.value.code == code
    return caught.value.message


SCORES = np.array([[0.25, 0.75], [1, 0]], np.float32)
NAMES = text_array([b"a", b"b", b"c", b"\xff"]).reshape(2, 2)


@pytest.mark.parametrize(
    "outputs, expected",
    [
        ({"scores": SCORES}, [[("", 0.25), ("", 0.75)], [("", 1), ("", 0)]]),
        ({"classes": NAMES}, [[("a", 0), ("b", 0)], [("c", 0), ("\ufffd", 0)]]),
        ({"scores": SCORES, "classes": NAMES}, [[("a", 0.25), ("b", 0.75)], [("c", 1), ("\ufffd", 0)]]),
    ],
)
def test_classify(outputs, expected):
    servable = Servable(**outputs)
    response = classify(servable, timeout=3.0)
    assert [[(one.label, one.score) for one in row.classes] for row in response.result.classifications] == expected
    assert response.model_spec.signature_name == "s"
    ((key, examples, timeout),) = servable.ran
    assert key == "s" and timeout == 3.0
    assert examples.tolist() == [one.SerializeToString() for one in given().example_list.examples]


@pytest.mark.parametrize(
    "outputs, told",
    [
        ({"scores": SCORES[:, 0]}, "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        ({"scores": SCORES[:1]}, "Expected output batch size to be 2. Got: 1"),
        ({"scores": SCORES, "classes": NAMES[:, :1]}, "should match in num_classes. Got 1 vs. 2"),
        ({"scores": SCORES.astype(np.int64)}, "Expected scores Tensor of DT_FLOAT. Got: DT_INT64"),
        ({"classes": SCORES}, "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
        ({"others": SCORES}, 'at least one of "classes" or "scores"'),
        ({"scores": SCORES, "others": SCORES, "more": SCORES}, "Expected one or two output Tensors, found 3"),
    ],
)
def test_classify_refused(outputs, told):
    assert told in refused(classify, Servable(**outputs))


@pytest.mark.parametrize("values", [np.float32([1, 2]), np.float32([[1], [2]])])
def test_regress(values):
    response = regress(Servable(method=REGRESS, outputs=values))
    assert [one.value for one in response.result.regressions] == [1, 2]
    assert response.model_spec.signature_name == "s"


@pytest.mark.parametrize(
    "outputs, told",
    [
        ({"outputs": SCORES}, "[batch_size] or [batch_size, 1] but got [2,2]"),
        ({"outputs": SCORES[:1, 0]}, "Expected output batch size to be 2. Got: 1"),
        ({"outputs": np.array([1, 2])}, "Expected output Tensor of DT_FLOAT.  Got: DT_INT64"),
        ({"others": SCORES}, "No regression outputs found in SignatureDef: s"),
        ({"outputs": SCORES, "others": SCORES}, "Expected one output Tensor, found 2"),
    ],
)
def test_regress_refused(outputs, told):
    assert told in refused(regress, Servable(method=REGRESS, **outputs))


@pytest.mark.parametrize(
    "inputs, told",
    [
        (("examples", "string"), "No classification inputs found in SignatureDef: s"),
        (("inputs", "float"), "Expected input Tensor of DT_STRING.  Got: DT_FLOAT"),
    ],
)
def test_signatures_that_take_no_examples(inputs, told):
    assert told in refused(classify, Servable(inputs=inputs, scores=SCORES))


def test_method_is_looked_at_only_where_it_is_asked_for():
    servable = Servable(method=REGRESS, scores=SCORES)
    assert classify(servable).result.classifications
    told = refused(classify, servable, strict=True)
    assert told == f"Expected classification signature method_name to be {CLASSIFY}. Was: {REGRESS}"


def test_nothing_runs_on_an_unknown_signature_or_an_empty_input():
    servable = Servable(scores=SCORES)
    assert refused(classify, servable, "paint") == "No signature was found with the name: paint"
    for empty in (input_pb2.Input(), given(0)):
        request = classification_pb2.ClassificationRequest(model_spec=model_pb2.ModelSpec(name="m"), input=empty)
        assert refused(inference.classify, servable, request) == "Input is empty."
    assert not servable.ran


def test_features_of_a_context_are_those_of_examples_that_lack_them():
    found = input_pb2.Input()
    both = found.example_list_with_context
    for name in "xy":
        both.context.features.feature[name].int64_list.value.append(7)
    both.examples.add().features.feature["x"].int64_list.value.append(1)
    both.examples.add()
    servable = Servable(scores=SCORES)
    inference.classify(
        servable, classification_pb2.ClassificationRequest(model_spec=model_pb2.ModelSpec(name="m"), input=found)
    )
    seen = [type(both.context).FromString(one).features.feature for one in servable.ran[0][1]]
    assert [[one[name].int64_list.value[0] for name in "xy"] for one in seen] == [[1, 7], [7, 7]]


def test_a_small_input_does_not_become_a_huge_one():
    """Nothing is copied or run for images that are too many, or a context too large for all of its examples."""
    servable, found = Servable(scores=SCORES), input_pb2.Input()
    found.example_list.examples.add().features.feature["image"].bytes_list.value.append(b"x")
    found.example_list.examples.extend(found.example_list.examples[0] for _ in range(4096))
    shared = input_pb2.Input()
    shared.example_list_with_context.context.features.feature["image"].bytes_list.value.append(b"x")
    shared.example_list_with_context.examples.extend([type(shared.example_list_with_context.context)()] * 4097)
    for one in (found, shared):
        request = classification_pb2.ClassificationRequest(model_spec=model_pb2.ModelSpec(name="m"), input=one)
        assert refused(inference.classify, servable, request) == (
            "`image` holds 4,097 images but at most 4,096 are taken at once; send several requests.")
    features = shared.example_list_with_context.context.features.feature
    del features["image"]
    features["x"].bytes_list.value.append(bytes(2**20))
    request = classification_pb2.ClassificationRequest(model_spec=model_pb2.ModelSpec(name="m"), input=shared)
    assert "for 4,097 examples but together at most 268,435,456 are taken" in refused(
        inference.classify, servable, request)
    assert not servable.ran


def test_multi_inference_refuses_before_anything_runs():
    servable = Servable(scores=SCORES)
    for tasks, code, told in (
        ((("m", "s", CLASSIFY), ("n", "t", CLASSIFY)), Code.INVALID_ARGUMENT, "must access the same model name"),
        ((("m", "s", CLASSIFY), ("m", "s", REGRESS)), Code.INVALID_ARGUMENT, "Duplicate evaluation of signature: s"),
        ((("m", "s", CLASSIFY), ("m", "t", "x")), Code.UNIMPLEMENTED, "Unsupported signature method_name: x"),
    ):
        request = inference_pb2.MultiInferenceRequest(input=given())
        for model, signature, method in tasks:
            spec = model_pb2.ModelSpec(name=model, signature_name=signature)
            request.tasks.add(model_spec=spec, method_name=method)
        assert told in refused(inference.multi_inference, servable, request, code=code)
    assert not servable.ran
