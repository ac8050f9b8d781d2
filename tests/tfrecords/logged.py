"""Request logs as a server writes them."""

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

WHEN = 1_764_590_400  # 2025-12-01 12:00 UTC


def png(number, size=6):
    return tf.io.encode_png(np.full([size, size, 3], number, np.uint8)).numpy()


def asked(inputs, seconds=WHEN):
    log = prediction_log_pb2.PredictionLog()
    log.log_metadata.timestamp_secs = seconds
    log.log_metadata.model_spec.name = "../../model"
    for name, value in inputs.items():
        log.predict_log.request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    log.predict_log.SetInParent()
    return log


def with_examples(kind, *images):
    log = prediction_log_pb2.PredictionLog()
    part = getattr(log, f"{kind}_log")
    part.SetInParent()
    for image in images:
        example = part.request.input.example_list.examples.add()
        example.features.feature["path"].bytes_list.value.append(b"p")
        if image:
            example.features.feature["image"].bytes_list.value.append(image)
    return log


def written(file, *logs):
    with tf.io.TFRecordWriter(str(file)) as writer:
        for log in logs:
            writer.write(log if isinstance(log, bytes) else log.SerializeToString())
    return file
