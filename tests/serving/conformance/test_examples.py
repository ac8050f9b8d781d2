"""Classify, Regress and MultiInference, whose input is tf.Examples: items 18 to 24."""

import grpc
import pytest
from tensorflow_serving.apis import classification_pb2, inference_pb2, input_pb2, model_pb2, regression_pb2

from serving.config import ModelConfig
from serving.server import Server
from tests.serving.conformance.models import CLASSIFY, REGRESS
from tests.serving.wire import IA, examples, refused, stub_of


def classify(signature="classify_x", given=None, model="half"):
    spec = model_pb2.ModelSpec(name=model, signature_name=signature)
    return classification_pb2.ClassificationRequest(model_spec=spec, input=given or examples(2.0))


def regress(signature="regress_x", given=None, model="half"):
    spec = model_pb2.ModelSpec(name=model, signature_name=signature)
    return regression_pb2.RegressionRequest(model_spec=spec, input=given or examples(2.0))


def multi(*tasks, given=None):
    """Args: tasks: (signature, method) or (signature, method, model)."""
    message = inference_pb2.MultiInferenceRequest(input=given or examples(2.0))
    for signature, method, *model in tasks:
        spec = model_pb2.ModelSpec(name=model[0] if model else "half", signature_name=signature)
        message.tasks.add(model_spec=spec, method_name=method)
    return message


def spec_of(response):
    spec = response.model_spec
    return spec.name, spec.version.value, spec.signature_name


def test_18_classify(stub):
    response = stub.Classify(classify(given=examples(2.0, 4.0)))
    found = [[(one.label, one.score) for one in row.classes] for row in response.result.classifications]
    assert found == [[("", 3.0)], [("", 4.0)]] and spec_of(response) == ("half", 123, "classify_x")
    response = stub.Classify(classify("classify_names"))
    (row,) = response.result.classifications
    assert [(one.label, one.score) for one in row.classes] == [("plus", 3.0), ("minus", -3.0)]


@pytest.mark.parametrize("signature", ["regress_x", "regress_flat"])
def test_18_regress(stub, signature):
    response = stub.Regress(regress(signature, given=examples(2.0, 4.0)))
    assert [one.value for one in response.result.regressions] == [3.0, 4.0]
    assert spec_of(response) == ("half", 123, signature)


def test_18_features_of_a_context_are_those_of_every_example(stub):
    given = input_pb2.Input()
    both = given.example_list_with_context
    both.context.features.feature["x"].float_list.value.append(2.0)
    both.examples.add()
    both.examples.add().features.feature["x"].float_list.value.append(4.0)
    response = stub.Regress(regress(given=given))
    assert [one.value for one in response.result.regressions] == [3.0, 4.0]


def test_19_empty_input(stub):
    empty = input_pb2.Input(example_list=input_pb2.ExampleList())
    for call, message in (
        (stub.Classify, classification_pb2.ClassificationRequest(model_spec=classify().model_spec)),
        (stub.Classify, classify(given=empty)),
        (stub.Regress, regress(given=empty)),
        (stub.MultiInference, multi(("regress_x", REGRESS), given=empty)),
    ):
        code, text = refused(call, message)
        assert code == IA and "Input is empty" in text


def test_20_unknown_signature(stub):
    for call, message in ((stub.Classify, classify("paint")), (stub.Regress, regress("paint"))):
        code, text = refused(call, message)
        assert code == IA and "No signature was found with the name: paint" in text


def test_21_method_name_where_it_is_checked(own, target):
    models = [ModelConfig("half", str(target.models / "half"))]
    with Server(models, port=0, strict_methods=True) as running, stub_of(running) as stub:
        code, text = refused(stub.Classify, classify("regress_x"))
        assert code == IA
        assert f"Expected classification signature method_name to be {CLASSIFY}. Was: {REGRESS}" in text
        code, text = refused(stub.Regress, regress("classify_x"))
        assert code == IA and f"Expected regression signature method_name to be {REGRESS}. Was: {CLASSIFY}" in text
        assert stub.Regress(regress()).result.regressions[0].value == 3.0


def test_22_scores_that_are_not_a_row_for_each_example(stub):
    code, text = refused(stub.Classify, classify("flat_scores", given=examples(2.0, 4.0)))
    assert code == IA and "Expected Tensor shape: [batch_size num_classes] but got [2]" in text
    code, text = refused(stub.Classify, classify("one_score", given=examples(2.0, 4.0)))
    assert code == IA and "Expected" in text and "batch size" in text


def test_23_values_that_are_not_one_for_each_example(stub):
    code, text = refused(stub.Regress, regress("two_values", given=examples(2.0, 4.0)))
    assert code == IA and "[batch_size] or [batch_size, 1]" in text


def test_24_multi_inference(stub):
    response = stub.MultiInference(multi(("regress_x", REGRESS), ("classify_x", CLASSIFY)))
    first, second = response.results
    assert first.regression_result.regressions[0].value == 3.0
    assert second.classification_result.classifications[0].classes[0].score == 3.0
    assert [spec_of(one) for one in response.results] == [("half", 123, "regress_x"), ("half", 123, "classify_x")]


def test_24_multi_inference_refused(stub):
    code, text = refused(stub.MultiInference, multi(("regress_x", REGRESS), ("classify_x", CLASSIFY, "toy")))
    assert code == IA and "All ModelSpecs in a MultiInferenceRequest must access the same model name." in text
    code, text = refused(stub.MultiInference, multi(("regress_x", REGRESS), ("regress_x", REGRESS)))
    assert code == IA and "Duplicate evaluation of signature: regress_x" in text
    code, text = refused(stub.MultiInference, multi(("serving_default", "tensorflow/serving/predict")))
    assert code == grpc.StatusCode.UNIMPLEMENTED
    assert "Unsupported signature method_name: tensorflow/serving/predict" in text
