import numpy as np
import pytest
import tensorflow as tf

from keras_apps.build import build
from keras_apps.norms import make_norm

MAPS = np.random.default_rng(0).normal(2.0, 3.0, [4, 3, 5, 12]).astype(np.float32)


def standardised(values, axes):
    return (values - values.mean(axes, keepdims=True)) / np.sqrt(values.var(axes, keepdims=True) + 1e-5)


def test_each_kind_standardises_over_its_own_axes():
    np.testing.assert_allclose(make_norm("batch", 12)(MAPS, training=True), standardised(MAPS, (0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(make_norm("layer", 12)(MAPS, training=True), standardised(MAPS, 3), atol=1e-5)
    grouped = standardised(MAPS.reshape(4, 3, 5, 6, 2), (1, 2, 4)).reshape(MAPS.shape)
    np.testing.assert_allclose(make_norm("group", 12)(MAPS, training=True), grouped, atol=1e-5)


def test_groups_are_eight_or_the_next_divisor():
    assert [make_norm("group", channels).groups for channels in (64, 12, 10, 7, 11, 3)] == [8, 6, 5, 7, 1, 3]


@pytest.mark.parametrize("kind", ["batch", "group", "layer"])
def test_gain_and_shift(kind):
    norm = make_norm(kind, 12, gamma="zeros", shift=False)
    assert not norm(MAPS, training=True).numpy().any()
    assert [variable.name.split("/")[-1] for variable in norm.trainable_variables] == ["gamma:0"]


@pytest.mark.parametrize("backbone", ["small_cnn(widths=(4, 6, 8), norm='{}')",
                                      "resnet(widths=(4, 6, 8), blocks=(1, 1, 1), norm='{}')"])
def test_gradients_of_parts_of_a_batch_add_up_without_batch_statistics(backbone):
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
    assert gap("group") < 1e-4 and gap("layer") < 1e-4 and gap("batch") > 1e-2


def test_refusal():
    with pytest.raises(ValueError, match="`norm` is 'instance' but must be one of batch, group, layer"):
        make_norm("instance", 8)
