"""GetModelMetadata and GetModelStatus: items 25 to 27."""

import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

from tests.serving.wire import IA, NF, refused, states


def test_25_metadata(stub):
    def ask(*fields):
        spec = model_pb2.ModelSpec(name="toy", version={"value": 1})
        return get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=fields)

    code, text = refused(stub.GetModelMetadata, ask())
    assert code == IA and "must specify at least one metadata_field" in text
    code, text = refused(stub.GetModelMetadata, ask("weights"))
    assert code == IA and "Metadata field weights is not supported" in text
    response = stub.GetModelMetadata(ask("signature_def"))
    assert (response.model_spec.name, response.model_spec.version.value) == ("toy", 1)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert signatures.signature_def["two"].inputs["a"].dtype == tf.float32.as_datatype_enum
    assert "serving_default" in signatures.signature_def


def test_26_status_of_all_and_one_version(models):
    every = states(models, "toy")
    assert list(every) == [2, 1]
    for status in every.values():
        assert (status.state, status.status.error_code, status.status.error_message) == (30, 0, "")
    assert list(states(models, "toy", 1)) == [1]


def test_27_status_of_unknown(models):
    def ask(**spec):
        return get_model_status_pb2.GetModelStatusRequest(model_spec=model_pb2.ModelSpec(**spec))

    code, text = refused(models.GetModelStatus, ask(name="nobody"))
    assert code == NF and "Could not find any versions of model nobody" in text
    code, text = refused(models.GetModelStatus, ask(name="toy", version={"value": 9}))
    assert code == NF and "Could not find version 9 of model toy" in text
    code, text = refused(models.GetModelStatus, get_model_status_pb2.GetModelStatusRequest())
    assert code == IA and "Missing ModelSpec" in text
