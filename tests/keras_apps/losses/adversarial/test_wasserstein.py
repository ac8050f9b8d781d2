import numpy as np
import pytest

from keras_apps.losses.adversarial.wasserstein import WassersteinLoss

REAL, FAKE = 2 * np.random.default_rng(0).normal(size=[2, 7])


def test_equals_the_loop():
    loss = WassersteinLoss()
    np.testing.assert_allclose(loss.critic(REAL, FAKE), [f - x for x, f in zip(REAL, FAKE)], atol=1e-9, rtol=0)
    np.testing.assert_array_equal(loss.generator(FAKE), -FAKE)


def test_what_all_scores_share_plays_no_part_in_the_critic():
    loss = WassersteinLoss()
    np.testing.assert_allclose(loss.critic(REAL + 5, FAKE + 5), loss.critic(REAL, FAKE), atol=1e-12)
    np.testing.assert_allclose(loss.critic(3 * REAL, 3 * FAKE), 3 * loss.critic(REAL, FAKE), atol=1e-12)


def test_the_bound_of_the_weights():
    assert WassersteinLoss().clip == 0.01 and WassersteinLoss(clip=1).clip == 1.0


@pytest.mark.parametrize("clip", [0, -0.01, float("nan"), float("inf")])
def test_wrong_settings_are_refused(clip):
    with pytest.raises(ValueError, match=f"^`clip` is {clip} but must be a finite number above 0; use 0.01.$"):
        WassersteinLoss(clip)
