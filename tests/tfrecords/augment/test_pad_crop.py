import numpy as np
import pytest
import tensorflow as tf

from tfrecords.augment.pad_crop import PadCropAugment


@pytest.mark.parametrize("fill, mode", [("reflect", "reflect"), ("zero", "constant")])
def test_each_image_is_one_crop_of_its_padded_self_and_all_crops_occur(fill, mode):
    images = np.random.default_rng(0).random((400, 7, 9, 2)).astype(np.float32)
    out = PadCropAugment(2, fill)(tf.constant(images), tf.constant([1, 5])).numpy()
    padded = np.pad(images, [(0, 0), (2, 2), (2, 2), (0, 0)], mode=mode)
    seen = []
    for picture, source in zip(out, padded):
        places = [(y, x) for y in range(5) for x in range(5) if (picture == source[y:y + 7, x:x + 9]).all()]
        assert len(places) == 1
        seen += places
    counts = np.unique(seen, axis=0, return_counts=True)[1]
    assert len(counts) == 25 and counts.min() >= 4 and counts.max() <= 34


def test_padding_larger_than_the_image_is_reflected_on():
    images = np.arange(12, dtype=np.float32).reshape(1, 3, 4, 1) / 12
    padded = np.pad(images[0, ..., 0], 8, mode="reflect")
    crops = [padded[y:y + 3, x:x + 4] for y in range(17) for x in range(17)]
    for seed in range(20):
        out = PadCropAugment(8)(tf.constant(images), tf.constant([seed, 0])).numpy()[0, ..., 0]
        assert any((out == crop).all() for crop in crops)


def test_strength_scales_the_shift():
    images = tf.constant(np.tile(np.arange(20, dtype=np.float32)[:, None, None] / 20, (200, 1, 20, 1)))
    out = PadCropAugment(6)(images, tf.constant([1, 5]), 0.5).numpy()
    moves = np.round((out[:, 10, 10, 0] - 0.5) * 20)
    assert moves.min() == -3 and moves.max() == 3


def test_refusals():
    with pytest.raises(ValueError, match="`pixels` is -1"):
        PadCropAugment(-1)
    with pytest.raises(ValueError, match="`fill` is 'nearest'"):
        PadCropAugment(fill="nearest")
