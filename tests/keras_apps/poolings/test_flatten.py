import numpy as np
import pytest
import tensorflow as tf

from keras_apps.poolings.flatten import FlattenPooling


def test_keeps_every_value_channels_fastest():
    image = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    value = FlattenPooling()(image).numpy()
    assert value.shape == (2, 60) and not FlattenPooling().variables
    for h, w, d in ((0, 0, 1), (0, 1, 0), (1, 0, 0), (2, 3, 4)):
        np.testing.assert_array_equal(value[:, (h * 4 + w) * 5 + d], image[:, h, w, d])


def test_the_depth_is_static_and_the_batch_may_be_unknown():
    assert FlattenPooling()(tf.keras.Input([3, 4, 5])).shape.as_list() == [None, 60]


@pytest.mark.parametrize("shape", [[None, 4, 5], [3, None, 5]])
def test_an_unknown_size_is_refused(shape):
    with pytest.raises(ValueError, match="fixed height, width and depth"):
        FlattenPooling()(tf.keras.Input(shape))
