"""The network of a fake detector: codes, a score, and the places that it adds up from."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.detection import DetectionNetwork
from keras_apps.layers.spectrum import SpectrumLayer

BACKBONE = "deepfd_res(widths=(3, 4, 6), blocks=(1, 1, 1), stem=3, stem_stride=1)"
IMAGES = np.random.default_rng(0).random([4, 16, 12, 2]).astype(np.float32)


def make(**words):
    tf.keras.utils.set_random_seed(0)
    return DetectionNetwork(**{"backbone": BACKBONE, "neck": "last()", "pooling": "average()", "code": 5,
                               "shape": (16, 12, 2), **words})


fixed = functools.cache(make)       # for tests that change nothing


def test_codes_are_shares():
    network = fixed()
    for training in (False, True):
        codes = network.codes(network.maps(IMAGES), training=training).numpy()
        assert codes.shape == (4, 5) and (codes > 0).all()
        np.testing.assert_allclose(codes.sum(1), np.ones(4), atol=1e-6)
    pooled = network.maps(IMAGES)["map5"].numpy().mean((1, 2))
    scores = np.exp(pooled @ network.project.kernel + network.project.bias)
    np.testing.assert_allclose(codes, scores / scores.sum(1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_the_scores_of_the_places_add_up_to_the_logits(training):
    network = make(neck="multi_level()")        # it branches from the last map, whatever the neck
    maps = network.maps(IMAGES)
    places = network._places(maps, training).numpy()
    assert places.shape == (4, 4, 3, 2)
    np.testing.assert_allclose(network.logits(maps, training), places.mean((1, 2)), atol=1e-6)


def test_the_classifier_is_its_formula():
    network = make()
    for variable in network.classifier:
        variable.assign_add(0.1 * tf.random.stateless_normal(variable.shape, [1, 2]))
    maps = network.maps(IMAGES)
    x = maps["map5"].numpy() / np.sqrt(1 + network.norm.epsilon) * network.norm.gamma + network.norm.beta
    x = tf.nn.conv2d(x / (1 + np.exp(-x)), network.convolution.kernel, 1, "SAME") + network.convolution.bias
    places = (x @ network.last.kernel + network.last.bias).numpy()
    np.testing.assert_allclose(network.logits(maps), places.mean((1, 2)), atol=1e-5)
    fake = np.exp(places[..., 1]) / np.exp(places).sum(-1)
    np.testing.assert_allclose(network.evidence(maps), fake, atol=1e-5)


def test_evidence_is_a_probability_that_grows_with_the_logit_of_fake():
    network = make()
    maps, before = network.maps(IMAGES), network.evidence(network.maps(IMAGES)).numpy()
    assert before.shape == (4, 4, 3) and (before > 0).all() and (before < 1).all() and np.ptp(before) > 0.01
    for bias in ([0.0, 0.5], [0.0, 3.0], [0.0, 100.0]):
        network.last.bias.assign(bias)
        after = network.evidence(maps).numpy()
        assert (after >= before).all() and (after.mean() > before.mean()) and (after <= 1).all()
        before = after
    network.last.bias.assign([100.0, 0.0])
    assert (network.evidence(maps).numpy() < 1e-6).all()


def test_evidence_lies_where_the_image_differs():
    """A score of a place is its own, but for what convolutions look around it."""
    network = make(shape=(64, 16, 2))
    images = np.random.default_rng(1).random([1, 64, 16, 2]).astype(np.float32)
    changed = images.copy()
    changed[:, :4] = 1 - changed[:, :4]
    gap = np.abs(network.evidence(network.maps(images)) - network.evidence(network.maps(changed)))[0]
    assert gap[0].max() > 1e-3 and gap[10:].max() == 0


@pytest.mark.parametrize("pooling", ["average()", "gem()"])
def test_a_margin_head_tells_places_by_their_columns(pooling):
    network = make(head="cosface()", pooling=pooling)
    maps = network.maps(IMAGES)
    evidence = network.evidence(maps).numpy()
    assert evidence.shape == (4, 4, 3) and (evidence > 0).all() and (evidence < 1).all()
    column = maps["map5"][1:2, 2, 1] @ network.project.kernel + network.project.bias
    np.testing.assert_allclose(evidence[1, 2, 1], tf.nn.softmax(network.head.logits(column))[0, 1], atol=1e-5)
    np.testing.assert_allclose(network.logits(maps), network.head.logits(network.embeddings(maps)), atol=1e-6)
    flat = {name: tf.ones_like(one) * one[:, :1, :1] for name, one in maps.items()}
    if pooling == "average()":      # an image that is everywhere the same: each place says what all say
        together = tf.nn.softmax(network.logits(flat))[:, 1]
        np.testing.assert_allclose(network.evidence(flat)[:, 1, 1], together, atol=1e-5)


@pytest.mark.parametrize("neck, pooling", [
    ("multi_level()", "average()"), ("last()", "flatten()"), ("last()", "parts()"), ("bam(reduction=2)", "average()"),
    ("multi_level(levels=1, dimension=6)", "average()"), ("mffm(widths=(2, 2, 2), fused=2)", "average()")])
def test_a_head_whose_evidence_has_no_places_is_refused(neck, pooling):
    with pytest.raises(ValueError, match="^`head` is 'cosface.*' with neck .* evidence of a place cannot be told; use"):
        make(head="cosface()", neck=neck, pooling=pooling)


@pytest.mark.parametrize("domain, channels", [("pixels", 2), ("spectrum", 2), ("both", 4)])
def test_domains_are_what_the_backbone_sees(domain, channels):
    network, spectrum = fixed(domain=domain), SpectrumLayer()(IMAGES) / 4 + 0.5
    assert network.backbone.stem.kernel.shape[2] == channels
    seen = {"pixels": IMAGES, "spectrum": spectrum, "both": np.concatenate([IMAGES, spectrum], -1)}[domain]
    maps = network.maps(IMAGES)
    for name, one in network.backbone(seen).items():
        np.testing.assert_allclose(maps[name], one, atol=1e-5)
    moved = network.maps(np.roll(IMAGES, 5, 1))["map5"]
    assert (np.abs(moved - maps["map5"]).max() < 1e-3) == (domain == "spectrum"), "places play no part in a spectrum"


@pytest.mark.parametrize("words", [{"domain": "both"}, {"head": "cosface()"},
                                   {"neck": "multi_level(levels=3, dimension=4)"}])
def test_trunk_and_classifier_are_all_there_is_to_train_and_each_learns(words):
    network = make(**words)
    trunk, classifier = ({id(v) for v in part} for part in (network.trunk, network.classifier))
    everything = {id(v) for v in network.trainable_variables}
    assert trunk | classifier == everything and not trunk & classifier and classifier
    assert len(network.trunk) + len(network.classifier) == len(everything), "each once"
    with tf.GradientTape(persistent=True) as tape:
        maps = network.maps(IMAGES, training=True)
        pairs = tf.reduce_sum(network.codes(maps, training=True) * tf.range(5.0))
        logits = network.logits(maps, training=True)
        step_two = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits([0, 1, 0, 1], logits))
    slopes = tape.gradient(pairs, network.trunk)
    assert all(slope is not None and np.abs(slope).max() > 0 for slope in slopes)
    assert all(slope is None for slope in tape.gradient(pairs, network.classifier))
    assert all(slope is not None and np.abs(slope).max() > 0 for slope in tape.gradient(step_two, network.classifier))


def test_an_image_is_judged_by_itself():
    network = fixed()
    maps = network.maps(IMAGES)
    for read in (network.codes, network.logits, network.evidence):
        alone = [read(network.maps(IMAGES[i:i + 1])) for i in range(4)]
        np.testing.assert_allclose(np.concatenate(alone), read(maps), atol=1e-5)


def test_a_graph_of_unknown_batch_size_equals_eager():
    network = fixed(domain="both")
    graph = tf.function(lambda images: network.evidence(network.maps(images)),
                        input_signature=[tf.TensorSpec([None, 16, 12, 2])])
    for rows in (4, 1):
        np.testing.assert_allclose(graph(IMAGES[:rows]), network.evidence(network.maps(IMAGES[:rows])), atol=1e-5)


def test_black_and_white_and_equal_images_stay_finite():
    network = fixed(domain="both")
    for images in (np.zeros_like(IMAGES), np.ones_like(IMAGES), np.full_like(IMAGES, 0.5)):
        maps = network.maps(images)
        assert all(np.isfinite(read(maps)).all() for read in (network.codes, network.logits, network.evidence))


@pytest.mark.parametrize("words, told", [({"code": 1}, "^`code` is 1 but must be at least 2"),
                                         ({"domain": "wavelets"}, "^`domain` is 'wavelets' but must be one of "),
                                         ({"backbone": "deepfd"}, "not a method of backbones"),
                                         ({"head": "cosface(margin=2)"}, "`margin` is 2")])
def test_refusals(words, told):
    with pytest.raises(ValueError, match=told):
        make(**words)
