import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from tfrecords.sources.digits import DigitsSource


def test_all_digits_with_their_labels():
    source, bunch = DigitsSource(), load_digits()
    items = list(source)
    assert len(source) == len(items) == 1797
    assert [item.columns["label"] for item in items] == bunch.target.tolist()
    assert items[12].path == "digits/2/12.png"
    for i in (0, 12, 1796):
        image = tf.io.decode_png(items[i].read())[..., 0].numpy()
        assert image.shape == (8, 8) and image.max() <= 255
        np.testing.assert_allclose(image * (16 / 255), bunch.images[i], atol=0.04)
