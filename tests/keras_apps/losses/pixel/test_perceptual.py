"""Perceptual loss: parity with a NumPy loop, levels, the divisor that carries no gradient."""

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.build import build
from tests.contracts.replicas import encoder

RANDOM = np.random.default_rng(0)
IMAGE, TARGET = RANDOM.random((2, 3, 8, 6, 1))


def made(text="perceptual()"):
    return build("losses/pixel", text, encoder=encoder)


def naive(image, target, levels):
    found = []
    for one, other in zip(image, target):
        total = 0.0
        for level in levels:
            seen, wanted = (encoder(tf.constant(each[None]))[level].numpy() for each in (one, other))
            total += np.abs(seen - wanted).mean() / (np.abs(wanted).mean() + 1e-3)
        found.append(total / len(levels))
    return found


@pytest.mark.parametrize("levels", [("map3", "map4"), ("map5",), ("map3", "map4", "map5")])
def test_parity_with_a_loop(levels):
    found = made(f"perceptual(levels={levels})")(IMAGE, TARGET)
    assert found.dtype == tf.float64
    np.testing.assert_allclose(found, naive(IMAGE, TARGET, levels), rtol=1e-9)


def test_the_gradient_is_that_of_differences_and_the_target_carries_none():
    loss, image, target = made(), tf.constant(IMAGE), tf.constant(TARGET)
    with tf.GradientTape() as tape:
        tape.watch([image, target])
        total = tf.reduce_sum(loss(image, target))
    slope, none = tape.gradient(total, [image, target])
    assert none is None
    step = np.zeros_like(IMAGE)
    step[1, 3, 2, 0] = 1e-6
    wanted = (np.sum(loss(IMAGE + step, TARGET)) - np.sum(loss(IMAGE - step, TARGET))) / 2e-6
    assert slope[1, 3, 2, 0].numpy() == pytest.approx(wanted, abs=1e-6)


def test_equal_images_are_0_and_nearer_ones_have_less():
    loss = made()
    np.testing.assert_array_equal(loss(IMAGE, IMAGE), 0)
    near, far = (loss(IMAGE + share * (TARGET - IMAGE), IMAGE).numpy() for share in (0.2, 0.8))
    assert (near < far).all() and (near > 0).all()


def test_a_dark_target_leaves_the_loss_finite():
    assert np.isfinite(made()(IMAGE, np.zeros_like(IMAGE))).all()


@pytest.mark.parametrize("levels", [(), ("map2",), ("map3", "map9")])
def test_other_levels_are_refused(levels):
    with pytest.raises(ValueError, match="`levels` is .* but must name maps among map3, map4, map5"):
        made(f"perceptual(levels={levels})")
