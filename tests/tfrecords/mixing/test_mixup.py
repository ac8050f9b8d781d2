import numpy as np
import pytest
import tensorflow as tf

from tfrecords.mixing.mixup import MixupMixing

IMAGES = np.random.default_rng(0).random((40, 5, 6, 3)).astype(np.float32)
LABELS = np.arange(40, dtype=np.int32) - 1      # each its own; the first is -1


def test_each_image_by_a_loop():
    batch = {"image": tf.constant(IMAGES), "label": tf.constant(LABELS), "index": tf.range(40)}
    out = MixupMixing(1.0)(batch, tf.constant([3, 4]))
    np.testing.assert_array_equal(out["label"], LABELS)
    np.testing.assert_array_equal(out["index"], np.arange(40))
    assert out["share"].dtype == tf.float32 and out["label_other"].dtype == tf.int32
    shares, others = out["share"].numpy(), out["label_other"].numpy() + 1
    assert sorted(others) == list(range(40)) and (others != np.arange(40)).sum() > 30
    for i in range(40):
        expected = shares[i] * IMAGES[i] + (1 - shares[i]) * IMAGES[others[i]]
        np.testing.assert_allclose(out["image"][i], expected, atol=1e-6)
    assert len(set(shares)) == 40 and np.ptp(shares) > 0.8


def test_eager_equals_graph_in_a_dataset():
    method, batch = MixupMixing(), {"image": tf.constant(IMAGES), "label": tf.constant(LABELS)}
    data = tf.data.Dataset.from_tensors(batch).map(lambda batch: method(batch, tf.constant([3, 4])))
    for name, values in method(batch, tf.constant([3, 4])).items():
        np.testing.assert_allclose(next(iter(data))[name], values, atol=1e-6)


def test_refusal():
    with pytest.raises(ValueError, match="`alpha` is 0"):
        MixupMixing(0)
