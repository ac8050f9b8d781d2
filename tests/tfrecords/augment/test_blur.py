import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from tfrecords.augment.blur import BlurAugment

IMAGES = np.random.default_rng(0).random((3, 12, 17, 2)).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.3, 1.1, 4.0])
def test_against_scipy(sigma):
    out = BlurAugment(1, (sigma, sigma))(tf.constant(IMAGES), tf.constant([1, 2]))
    blurred, inside = (ndimage.gaussian_filter(values.astype(float), (0, sigma, sigma, 0), mode="constant", radius=17)
                       for values in (IMAGES, np.ones_like(IMAGES)))
    np.testing.assert_allclose(out, blurred / inside, atol=2e-6)


def test_each_image_has_its_own_sigma_within_the_range():
    images = np.zeros((300, 31, 31, 1), np.float32)
    images[:, 15, 15] = 1
    out = BlurAugment(0.8, (0.5, 2.0))(tf.constant(images), tf.constant([3, 3])).numpy()[..., 0]
    kept = out[:, 15, 15] == 1
    assert 0.13 < kept.mean() < 0.27
    place = np.square(np.arange(31) - 15)
    sigma = np.sqrt((out.sum(1) * place).sum(1))[~kept]
    assert 0.45 < sigma.min() < 0.6 and 1.9 < sigma.max() < 2.01 and abs(sigma.mean() - 1.25) < 0.1


@pytest.mark.parametrize("words, told", [({"share": 1.1}, "`share` is 1.1"), ({"sigma": (2, 1)}, "`sigma` is"),
                                         ({"sigma": (-1, 1)}, "`sigma` is")])
def test_refusals(words, told):
    with pytest.raises(ValueError, match=told):
        BlurAugment(**words)
