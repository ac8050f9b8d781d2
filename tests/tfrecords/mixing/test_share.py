import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfrecords.mixing._share import beta, partners


@pytest.mark.parametrize("alpha", [0.1, 0.75, 1.0, 8.0])
def test_beta_has_its_law(alpha):
    draws = beta(20000, tf.constant([1, 2]), alpha).numpy()
    # Kolmogorov-Smirnov away from the ends, where float32 has no room below 1.
    places = np.linspace(0.01, 0.99, 30)
    shares = np.searchsorted(np.sort(draws), places) / len(draws)
    np.testing.assert_allclose(shares, stats.beta.cdf(places, alpha, alpha), atol=0.015)


@pytest.mark.parametrize("alpha", [1e-6, 1e-3, 1000.0, 3])
def test_extreme_alphas_stay_finite(alpha):
    draws = beta(5000, tf.constant([1, 2]), alpha).numpy()
    assert ((draws >= 0) & (draws <= 1)).all() and abs(draws.mean() - 0.5) < 0.03


def test_partners_are_a_permutation_of_the_seed():
    first, again, other = (partners(50, tf.constant([1, seed])).numpy() for seed in (2, 2, 3))
    np.testing.assert_array_equal(first, again)
    assert sorted(first) == list(range(50)) and (first != other).any() and (first == np.arange(50)).sum() < 6
