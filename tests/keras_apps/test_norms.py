import numpy as np
import pytest
import tensorflow as tf

from keras_apps.build import build
from keras_apps.layers.batch_norm import BatchNormLayer
from keras_apps.norms import make_norm

MAPS = np.random.default_rng(0).normal(2.0, 3.0, [4, 3, 5, 12]).astype(np.float32)


def standardised(values, axes):
    return (values - values.mean(axes, keepdims=True)) / np.sqrt(values.var(axes, keepdims=True) + 1e-5)


def test_each_kind_standardises_over_its_own_axes():
    np.testing.assert_allclose(make_norm("batch", 12)(MAPS, training=True), standardised(MAPS, (0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(make_norm("layer", 12)(MAPS, training=True), standardised(MAPS, 3), atol=1e-5)
    grouped = standardised(MAPS.reshape(4, 3, 5, 6, 2), (1, 2, 4)).reshape(MAPS.shape)
    np.testing.assert_allclose(make_norm("group", 12)(MAPS, training=True), grouped, atol=1e-5)
    np.testing.assert_allclose(make_norm("instance", 12)(MAPS, training=True), standardised(MAPS, (1, 2)), atol=1e-5)


@pytest.mark.parametrize("channels", [12, 7, 2])
def test_instance_batch_is_instance_norm_for_the_first_half_and_batch_norm_for_the_rest(channels):
    maps, half, norm = MAPS[..., :channels], channels // 2, make_norm("instance_batch", channels)
    found = norm(maps, training=True)
    np.testing.assert_allclose(found[..., :half], standardised(maps[..., :half], (1, 2)), atol=1e-5)
    np.testing.assert_allclose(found[..., half:], standardised(maps[..., half:], (0, 1, 2)), atol=1e-5)
    later = norm(maps, training=False)
    np.testing.assert_allclose(later[..., :half], found[..., :half], atol=1e-6)
    assert np.abs(later[..., half:] - found[..., half:]).max() > 0.1        # one step of the moving statistics
    assert isinstance(norm, tf.Module) and sum(isinstance(part, BatchNormLayer) for part in norm.submodules) == 1


@pytest.mark.parametrize("kind", ["instance", "instance_batch"])
def test_instance_norm_takes_contrast_and_tint_of_an_image_away(kind):
    norm, restyled = make_norm(kind, 12), MAPS * np.float32([[[[0.5]]], [[[2.0]]], [[[3.0]]], [[[1.0]]]]) + 1
    gap = np.abs(norm(MAPS, training=True) - norm(restyled, training=True)).max((0, 1, 2))
    assert gap[:6].max() < 1e-4 and (gap[6:].min() > 0.1) == (kind == "instance_batch")


def test_groups_are_eight_or_the_next_divisor():
    assert [make_norm("group", channels).groups for channels in (64, 12, 10, 7, 11, 3)] == [8, 6, 5, 7, 1, 3]


@pytest.mark.parametrize("kind", ["batch", "group", "layer", "instance", "instance_batch"])
def test_gain_and_shift(kind):
    norm = make_norm(kind, 12, gamma="zeros", shift=False)
    assert not norm(MAPS, training=True).numpy().any()
    assert {variable.name.split("/")[-1] for variable in norm.trainable_variables} == {"gamma:0"}
    assert sum(variable.shape[0] for variable in norm.trainable_variables) == 12


@pytest.mark.parametrize("backbone, single, across", [
    ("small_cnn(widths=(4, 6, 8), norm='{}')", ("group", "layer", "instance"), ("batch", "instance_batch")),
    ("resnet(widths=(4, 6, 8), blocks=(1, 1, 1), norm='{}')", ("group", "layer"), ("batch",)),
])
def test_gradients_of_parts_of_a_batch_add_up_without_batch_statistics(backbone, single, across):
    images = np.random.default_rng(1).random([4, 16, 16, 1]).astype(np.float32)

    def gap(kind):
        tf.keras.utils.set_random_seed(0)
        net = build("backbones", backbone.format(kind))
        net(images)

        def gradients(part):
            with tf.GradientTape() as tape:
                value = tf.reduce_sum(tf.square(net(part, training=True)["map5"] - 0.5))
            return tape.gradient(value, net.trainable_variables)
        parts = [first + second for first, second in zip(gradients(images[:2]), gradients(images[2:]))]
        return max(np.abs(a - b).max() / (np.abs(b).max() + 1e-3) for a, b in zip(parts, gradients(images)))
    assert all(gap(kind) < 1e-4 for kind in single) and all(gap(kind) > 1e-2 for kind in across)


def test_refusal():
    with pytest.raises(ValueError, match="`norm` is 'spectral' but must be one of batch, group, layer, instance, inst"):
        make_norm("spectral", 8)
    with pytest.raises(ValueError, match="`channels` is 1 but instance_batch needs at least 2"):
        make_norm("instance_batch", 1)
