"""Classify, Regress and MultiInference: in come tf.Examples for a servable, out go classes with scores, or values.

The servable is `serving.servable.Servable` or its like: .signature(name) and .run(key, inputs, timeout).
"""

import numpy as np
from google.protobuf import message as protobuf_message
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import classification_pb2, inference_pb2, regression_pb2

from saved_models.signatures import EXAMPLE_IMAGE
from serving.pixels import require_number
from serving.status import Code, StatusError, invalid
from serving.tensors import text_array

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
INPUTS, CLASSES, SCORES, OUTPUTS = "inputs", "classes", "scores", "outputs"
JOINED_BYTES = 256 * 2**20  # of a context, which each example gets a copy of


def classify(servable, request, timeout=None, strict=False):
    """ClassificationRequest -> ClassificationResponse without model name and version.

    Args:   strict: refuse signatures of another method, as --enable_signature_method_name_check.
    Raises: StatusError with TF Serving's code and text.
    """
    response = classification_pb2.ClassificationResponse()
    key = _classified(servable, request.model_spec, request.input, response.result, timeout, strict)
    response.model_spec.signature_name = key
    return response


def regress(servable, request, timeout=None, strict=False):
    """RegressionRequest -> RegressionResponse, as classify."""
    response = regression_pb2.RegressionResponse()
    key = _regressed(servable, request.model_spec, request.input, response.result, timeout, strict)
    response.model_spec.signature_name = key
    return response


def multi_inference(servable, request, timeout=None, strict=False):
    """MultiInferenceRequest, all of whose tasks ask this servable -> MultiInferenceResponse, results in their order."""
    names = {task.model_spec.name for task in request.tasks}
    if len(names) > 1:
        raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
    seen, response = set(), inference_pb2.MultiInferenceResponse()
    for task in request.tasks:
        if task.model_spec.signature_name in seen:
            raise invalid(f"Duplicate evaluation of signature: {task.model_spec.signature_name}")
        seen.add(task.model_spec.signature_name)
        if task.method_name not in _TASKS:
            raise StatusError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
    for task in request.tasks:
        field, answer = _TASKS[task.method_name]
        result = response.results.add()
        found = getattr(result, field)
        found.SetInParent()
        result.model_spec.signature_name = answer(servable, task.model_spec, request.input, found, timeout, strict)
    return response


def _classified(servable, spec, given, result, timeout, strict):
    key, definition = _signature(servable, spec, CLASSIFY, "classification", strict)
    wanted = {name: definition.outputs[name] for name in (CLASSES, SCORES) if name in definition.outputs}
    if len(definition.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(definition.outputs)}")
    if not wanted:
        raise invalid(
            f"Expected classification signature outputs to contain at least one of "
            f'"{CLASSES}" or "{SCORES}". Signature was: {key}'
        )
    for name, dtype in ((CLASSES, types_pb2.DT_STRING), (SCORES, types_pb2.DT_FLOAT)):
        if name in wanted and wanted[name].dtype != dtype:
            raise invalid(
                f"Expected {name} Tensor of {types_pb2.DataType.Name(dtype)}. Got: "
                f"{types_pb2.DataType.Name(wanted[name].dtype)}"
            )
    examples = _examples(given)
    outputs = servable.run(key, {INPUTS: examples}, timeout)
    outputs = {name: outputs[name] for name in wanted}
    for value in outputs.values():
        if value.ndim != 2:
            raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(value)}")
        if len(value) != len(examples):
            raise invalid(f"Expected output batch size to be {len(examples)}. Got: {len(value)}")
    if len({value.shape[1] for value in outputs.values()}) > 1:
        classes, scores = outputs[CLASSES].shape[1], outputs[SCORES].shape[1]
        raise invalid(f"Tensors class and score should match in num_classes. Got {classes} vs. {scores}")
    for row in range(len(examples)):
        classifications = result.classifications.add()
        for column in range(next(iter(outputs.values())).shape[1]):
            one = classifications.classes.add()
            if CLASSES in outputs:
                one.label = outputs[CLASSES][row, column].decode("utf-8", "replace")
            if SCORES in outputs:
                one.score = outputs[SCORES][row, column]
    return key


def _regressed(servable, spec, given, result, timeout, strict):
    key, definition = _signature(servable, spec, REGRESS, "regression", strict)
    if len(definition.outputs) != 1:
        raise invalid(f"Expected one output Tensor, found {len(definition.outputs)}")
    if OUTPUTS not in definition.outputs:
        raise invalid(f"No regression outputs found in SignatureDef: {key}")
    if definition.outputs[OUTPUTS].dtype != types_pb2.DT_FLOAT:
        raise invalid(
            f"Expected output Tensor of DT_FLOAT.  Got: {types_pb2.DataType.Name(definition.outputs[OUTPUTS].dtype)}"
        )
    examples = _examples(given)
    values = servable.run(key, {INPUTS: examples}, timeout)[OUTPUTS]
    if values.ndim not in (1, 2) or values.ndim == 2 and values.shape[1] != 1:
        raise invalid(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape(values)}"
        )
    if len(values) != len(examples):
        raise invalid(f"Expected output batch size to be {len(examples)}. Got: {len(values)}")
    for value in values.ravel().tolist():
        result.regressions.add().value = value
    return key


_TASKS = {CLASSIFY: ("classification_result", _classified), REGRESS: ("regression_result", _regressed)}


def _signature(servable, spec, method, kind, strict):
    """(key, SignatureDef) of a signature on serialised tf.Examples."""
    key, definition = servable.signature(spec.signature_name)
    if definition is None:
        raise invalid(f"No signature was found with the name: {key}")
    if strict and definition.method_name != method:
        raise invalid(f"Expected {kind} signature method_name to be {method}. Was: {definition.method_name}")
    if len(definition.inputs) != 1:
        raise invalid(f"Expected one input Tensor, found {len(definition.inputs)}")
    if INPUTS not in definition.inputs:
        raise invalid(f"No {kind} inputs found in SignatureDef: {key}")
    if definition.inputs[INPUTS].dtype != types_pb2.DT_STRING:
        raise invalid(
            f"Expected input Tensor of DT_STRING.  Got: {types_pb2.DataType.Name(definition.inputs[INPUTS].dtype)}"
        )
    return key, definition


def _examples(given):
    """[n] serialised tf.Examples of an Input; features of a context are those of every example that lacks them."""
    kind = given.WhichOneof("kind")
    if kind is None:
        raise invalid("Input is empty.")
    examples = getattr(given, kind).examples
    if not examples:
        raise invalid("Input is empty.")
    context = given.example_list_with_context.context
    shared = EXAMPLE_IMAGE in context.features.feature
    # How large each one is our own graphs see for themselves.
    require_number(EXAMPLE_IMAGE, sum(shared or EXAMPLE_IMAGE in one.features.feature for one in examples))
    if context.ByteSize() * len(examples) > JOINED_BYTES:
        raise invalid(
            f"Input has a context of {context.ByteSize():,} bytes for {len(examples):,} examples but together at most "
            f"{JOINED_BYTES:,} are taken; send fewer examples."
        )
    if kind == "example_list_with_context":
        joined = []
        for example in examples:
            whole = type(example)()
            whole.CopyFrom(context)
            for name, feature in example.features.feature.items():
                whole.features.feature[name].CopyFrom(feature)
            joined.append(whole)
        examples = joined
    try:
        return text_array([example.SerializeToString() for example in examples])
    except protobuf_message.EncodeError as error:
        raise invalid(f"Input cannot be serialised: {error}") from error


def _shape(value):
    return f"[{','.join(map(str, np.shape(value)))}]"
