import numpy as np
from sklearn.datasets import load_digits

from tests.tfrecords.sources.contract import check
from tfrecords.sources.digits import DigitsSource


def test_all_digits_with_their_labels():
    bunch = load_digits()
    items = check(DigitsSource())
    assert len(items) == 1797
    assert [item.columns["label"] for item in items] == bunch.target.tolist()
    assert items[12].path == "digits/2/12.png"
    assert items[3].stamp != items[4].stamp
    for i in (0, 12, 1796):
        image = items[i].read()
        assert image.shape == (8, 8) and image.dtype == np.uint8
        np.testing.assert_allclose(image * (16 / 255), bunch.images[i], atol=0.04)
