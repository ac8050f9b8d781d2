import numpy as np
import pytest
import tensorflow as tf

from keras_apps.backbones.small_cnn import SmallCnnBackbone
from keras_apps.layers.blur_pool import BlurPoolLayer


def test_maps_halve_and_widths_hold():
    maps = SmallCnnBackbone(widths=(4, 6, 8, 10), depth=2)(tf.zeros([2, 32, 28, 1]))
    assert {name: tuple(value.shape) for name, value in maps.items()} == {
        "map3": (2, 8, 7, 6), "map4": (2, 4, 4, 8), "map5": (2, 2, 2, 10)}


def test_last_stage_keeps_its_resolution_when_asked():
    maps = SmallCnnBackbone(widths=(4, 6, 8), pool_last=False)(tf.zeros([1, 16, 16, 3]))
    assert maps["map5"].shape[1:3] == maps["map4"].shape[1:3] == (4, 4)


def test_one_stage_is_convolution_norm_relu_maximum():
    backbone, images = SmallCnnBackbone(widths=(2, 2, 2)), np.random.default_rng(0).random((1, 4, 4, 1), np.float32)
    backbone(images)
    kernel = backbone.stages[0].layers[0].kernel.numpy()
    padded = np.pad((images[0] * 4 - 2), ((1, 1), (1, 1), (0, 0)))
    found = np.array([[np.einsum("ijc,ijcd->d", padded[y:y + 3, x:x + 3], kernel) for x in range(4)] for y in range(4)])
    expected = np.maximum(found / np.sqrt(1 + 1e-5), 0).reshape(2, 2, 2, 2, 2).max((1, 3))
    np.testing.assert_allclose(backbone(images)["map3"][0], expected, atol=1e-5)


def test_training_uses_the_batch_and_inference_does_not():
    backbone = SmallCnnBackbone(widths=(4, 4, 4))
    images = tf.random.stateless_uniform([6, 16, 16, 1], [0, 0])
    alone = backbone(images[:1])["map5"]
    np.testing.assert_allclose(backbone(images)["map5"][:1], alone, atol=1e-6)
    assert np.abs(backbone(images, training=True)["map5"][:1] - alone).max() > 1e-3


def test_blur_halves_after_the_maximum_at_every_place_and_has_no_parameters():
    plain, blurred = SmallCnnBackbone(widths=(4, 4, 6)), SmallCnnBackbone(widths=(4, 4, 6), blur=3)
    images = tf.random.stateless_uniform([2, 17, 14, 1], [0, 0])
    maps = [{name: value.shape for name, value in net(images).items()} for net in (plain, blurred)]
    assert maps[0] == maps[1]
    blurred.set_weights(plain.get_weights())
    seen = images * 4.0 - 2.0
    for layer in plain.stages[0].layers[:3]:
        seen = layer(seen)
    largest = tf.nn.max_pool2d(seen, 2, 1, "SAME")
    np.testing.assert_allclose(blurred(images)["map3"], BlurPoolLayer(3)(largest), atol=1e-5)
    np.testing.assert_allclose(plain(images)["map3"], largest[:, ::2, ::2], atol=1e-5)


def test_refusals():
    with pytest.raises(ValueError, match="`blur` is 1 "):
        SmallCnnBackbone(blur=1)
    with pytest.raises(ValueError, match="at least three widths"):
        SmallCnnBackbone(widths=(4, 4))
