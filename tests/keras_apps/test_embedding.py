import numpy as np
import pytest
import tensorflow as tf

from keras_apps.embedding import EmbeddingNetwork


def network(**words):
    return EmbeddingNetwork("small_cnn(widths=(4, 4, 4))", "flatten()", 6, (16, 16, 1), **words)


IMAGES = tf.random.stateless_uniform([5, 16, 16, 1], [0, 0])


def test_embeddings_are_unit_vectors_of_the_network():
    net = network()
    raw = net(IMAGES).numpy()
    np.testing.assert_array_equal(net.look(IMAGES)[0], raw)
    np.testing.assert_allclose(net.look(IMAGES)[1], raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-6)


def test_mirror_makes_an_image_and_its_mirror_image_equal():
    net = network()
    mirrored = tf.reverse(IMAGES, [2])
    np.testing.assert_allclose(net.look(IMAGES, mirror=True)[1], net.look(mirrored, mirror=True)[1], atol=1e-6)
    assert np.abs(net.look(IMAGES)[1] - net.look(tf.reverse(IMAGES, [2]))[1]).max() > 1e-3


def test_dropout_is_a_function_of_the_seed_and_off_when_embedding():
    net = network(dropout=0.5)
    one, two = (net(IMAGES, training=True, seed=tf.constant([1, n])).numpy() for n in (1, 2))
    np.testing.assert_array_equal(one, net(IMAGES, training=True, seed=tf.constant([1, 1])))
    assert np.abs(one - two).max() > 1e-3
    np.testing.assert_array_equal(net.look(IMAGES)[1], net.look(IMAGES)[1])


def test_all_variables_exist_at_once_and_the_norm_has_no_shift():
    names = [v.name for v in network().trainable_variables]
    assert len(names) == 3 * 3 + 2 and sum("beta" in name for name in names) == 3


def test_layer_norm_and_none_look_at_one_image_only():
    for norm, variables in (("layer", 1), ("none", 0)):
        net = EmbeddingNetwork("small_cnn(widths=(4, 4, 4), norm='group')", "flatten()", 6, (16, 16, 1), norm=norm)
        assert len(net.trainable_variables) == 3 * 3 + 1 + variables
        np.testing.assert_allclose(net(IMAGES, training=True)[:2], net(IMAGES[:2], training=True), atol=1e-6)
        raw = net.project(net.neck(net.backbone(IMAGES))).numpy()
        if norm == "layer":
            raw -= raw.mean(1, keepdims=True)
            raw /= np.sqrt((raw ** 2).mean(1, keepdims=True) + 1e-5)
        np.testing.assert_allclose(net(IMAGES), raw, atol=1e-4)


def test_the_feature_is_what_the_norm_makes_the_embedding_of():
    net = network()
    feature, embedding = net.both(IMAGES, training=True)
    centred = feature - tf.reduce_mean(feature, 0)
    np.testing.assert_allclose(embedding, centred / tf.sqrt(tf.math.reduce_variance(feature, 0) + 1e-5), atol=1e-3)


def test_without_a_projection_the_neck_says_how_wide_it_is():
    net = EmbeddingNetwork("small_cnn(widths=(4, 5, 6))", "average()", 0, (16, 16, 1), norm="none",
                           neck="multi_level(levels=2)")
    assert net.dimension == 11 and net(IMAGES).shape == (5, 11) and net.project is None


def test_refusals():
    with pytest.raises(ValueError, match="`norm` is 'spectral' but must be one of batch, layer, none"):
        network(norm="spectral")
    with pytest.raises(ValueError, match="`embedding` is 6 and `dropout` 1.0"):
        network(dropout=1.0)
