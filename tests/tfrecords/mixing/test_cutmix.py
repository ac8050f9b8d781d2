import numpy as np
import pytest
import tensorflow as tf

from tfrecords.mixing.cutmix import CutmixMixing

IMAGES = np.random.default_rng(0).random((200, 12, 17, 2)).astype(np.float32)
LABELS = np.arange(200, dtype=np.int32) - 1      # each its own; the first is -1


def test_each_image_by_a_loop():
    out = CutmixMixing()({"image": tf.constant(IMAGES), "label": tf.constant(LABELS), "index": 7}, tf.constant([3, 4]))
    np.testing.assert_array_equal(out["label"], LABELS)
    assert out["index"] == 7 and out["share"].dtype == tf.float32 and out["label_other"].dtype == tf.int32
    others = out["label_other"].numpy() + 1
    assert sorted(others) == list(range(200))
    for picture, own, other, share in zip(out["image"].numpy(), IMAGES, IMAGES[others], out["share"].numpy()):
        cut = (picture == other).all(-1) & (own != other).any(-1)
        np.testing.assert_array_equal(picture, np.where(cut[..., None], other, own))
        if cut.any():
            ys, xs = np.nonzero(cut)
            assert cut.sum() == (np.ptp(ys) + 1) * (np.ptp(xs) + 1), "a rectangle"
        if (own != other).any():
            assert share == pytest.approx(1 - cut.mean(), abs=1e-6)


def test_shares_and_places_spread():
    images = tf.constant(np.tile(np.arange(2, dtype=np.float32)[:, None, None, None], (500, 24, 24, 1)))
    out = CutmixMixing()({"image": images, "label": tf.zeros([1000], tf.int32)}, tf.constant([3, 4]))
    # Before the rectangle is cut to the image its area is uniform, of mean 1/2.
    assert 0.5 < np.mean(out["share"]) < 0.75 and np.min(out["share"]) < 0.1 and np.max(out["share"]) > 0.95
    changed = (out["image"] != images).numpy().mean((0, 3))
    assert changed.min() > 0.04 and changed.max() < 0.35 and abs(changed[:12].mean() - changed[12:].mean()) < 0.05


def test_eager_equals_graph_in_a_dataset():
    method, batch = CutmixMixing(0.3), {"image": tf.constant(IMAGES), "label": tf.constant(LABELS)}
    data = tf.data.Dataset.from_tensors(batch).map(lambda batch: method(batch, tf.constant([3, 4])))
    for name, values in method(batch, tf.constant([3, 4])).items():
        np.testing.assert_allclose(next(iter(data))[name], values, atol=1e-6)


def test_refusal():
    with pytest.raises(ValueError, match="`alpha` is -1"):
        CutmixMixing(-1)
