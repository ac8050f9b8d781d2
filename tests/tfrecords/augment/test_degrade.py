import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy import ndimage

from tfrecords.augment.degrade import DegradeAugment

IMAGES = np.random.default_rng(0).random((2, 14, 13, 2)).astype(np.float32)
SEED = tf.constant([1, 2])
NONE = {"factor": (1, 1), "blur": (0, 0), "noise": (0, 0), "share": 1}


@pytest.mark.parametrize("factor", [1.0, 2.0, 3.3, 100.0])
def test_smaller_and_back_as_pillow_does(factor):
    out = DegradeAugment(**{**NONE, "factor": (factor, factor)})(tf.constant(IMAGES), SEED).numpy()
    small = [max(1, round(side / factor)) for side in (13, 14)]
    for image, result in zip(np.moveaxis(IMAGES, -1, 1).reshape(4, 14, 13), np.moveaxis(out, -1, 1).reshape(4, 14, 13)):
        expected = Image.fromarray(image).resize(small, Image.Resampling.BILINEAR)
        expected = np.asarray(expected.resize((13, 14), Image.Resampling.BILINEAR))
        np.testing.assert_allclose(result, expected, atol=1e-5)


def test_blur_comes_before():
    out = DegradeAugment(**{**NONE, "blur": (1.2, 1.2)})(tf.constant(IMAGES), SEED).numpy()
    blurred, inside = (ndimage.gaussian_filter(values, (0, 1.2, 1.2, 0), mode="constant", radius=14)
                       for values in (IMAGES.astype(float), np.ones(IMAGES.shape)))
    np.testing.assert_allclose(out, blurred / inside, atol=1e-5)
    both = DegradeAugment(**{**NONE, "blur": (1.2, 1.2), "factor": (3, 3)})(tf.constant(IMAGES), SEED)
    after = DegradeAugment(**{**NONE, "factor": (3, 3)})(tf.constant(out), SEED)
    np.testing.assert_allclose(both, after, atol=1e-5)


def test_noise_has_its_standard_deviation_and_is_coarse_where_the_image_is():
    grey = tf.fill([200, 16, 16, 1], 0.5)
    out = DegradeAugment(**{**NONE, "noise": (0.05, 0.05)})(grey, SEED).numpy()
    assert abs(out.std() - 0.05) < 1e-3 and abs(out.mean() - 0.5) < 1e-3
    coarse = DegradeAugment(**{**NONE, "noise": (0.05, 0.05), "factor": (4, 4)})(grey, SEED).numpy()
    neighbours = [np.corrcoef(noise[:, 8, 8, 0], noise[:, 8, 9, 0])[0, 1] for noise in (out, coarse)]
    assert abs(neighbours[0]) < 0.25 and neighbours[1] > 0.7


def test_factors_spread_over_their_range_in_a_share():
    # Across 16 stripes the contrast that is left falls with the factor.
    stripes = np.tile(np.sin(np.arange(64) * np.pi / 4) / 2 + 0.5, (300, 8, 1))[..., None].astype(np.float32)
    out = DegradeAugment(factor=(1, 8), blur=(0, 0), noise=(0, 0), share=0.7)(tf.constant(stripes), SEED).numpy()
    assert 0.2 < (out == stripes).all((1, 2, 3)).mean() < 0.45     # the share, and factors that round to none
    left = out.std((1, 2, 3)) / stripes.std()
    assert left.min() < 0.1 and ((left > 0.3) & (left < 0.9)).mean() > 0.2


@pytest.mark.parametrize("words, told", [({"factor": (0.5, 2)}, "factors >= 1"), ({"blur": (1, 0)}, "smallest <="),
                                         ({"noise": (-1, 0)}, "others >= 0"), ({"share": 3}, "`share` is 3")])
def test_refusals(words, told):
    with pytest.raises(ValueError, match=told):
        DegradeAugment(**words)
