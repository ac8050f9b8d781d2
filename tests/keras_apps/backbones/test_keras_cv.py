import json
import pathlib
import subprocess
import sys

import keras_cv
import numpy as np
import pytest
import requests
import tensorflow as tf
from keras_cv.src.utils.preset_utils import save_to_preset

from keras_apps.backbones.keras_cv import KINDS, KerasCvBackbone
from keras_apps.embedding import EmbeddingNetwork
from keras_apps.optimizers.sgd import SgdOptimizer
from keras_apps.strategy import make_strategy

ROOT = pathlib.Path(__file__).parents[3]
RESNET = {"stackwise_filters": (4, 6, 8), "stackwise_blocks": (1, 1, 1), "stackwise_strides": (1, 2, 2),
          "block_type": "block"}
TINY = {
    "resnet": RESNET, "resnet_v2": {**RESNET, "stackwise_blocks": (2, 2, 2)},
    "densenet": {"stackwise_num_repeats": (1, 1, 1), "growth_rate": 4},
    "mobilenet_v3": {"stackwise_expansion": (1, 2, 2), "stackwise_filters": (8, 8, 8),
                     "stackwise_kernel_size": (3, 3, 3), "stackwise_stride": (2, 2, 2),
                     "stackwise_se_ratio": (0.25, None, 0.25), "stackwise_activation": ("relu", "relu", "hard_swish")},
    "efficientnet_v2": {"stackwise_kernel_sizes": (3, 3, 3), "stackwise_num_repeats": (1, 2, 1),
                        "stackwise_input_filters": (8, 8, 8), "stackwise_output_filters": (8, 8, 8),
                        "stackwise_expansion_ratios": (1, 2, 2), "stackwise_strides": (2, 2, 2),
                        "stackwise_squeeze_and_excite_ratios": (0, 0.25, 0.25),
                        "stackwise_conv_types": ("fused", "unfused", "unfused")},
    "csp_darknet": {"stackwise_channels": (8, 8, 8), "stackwise_depth": (1, 1, 1)},
}
IMAGES = np.random.default_rng(0).random([4, 64, 64, 3]).astype(np.float32)


def theirs(name="resnet", sizes=RESNET, **words):
    """keras-cv's own network, which takes [0, 255], with weights that are not those of a start."""
    kind, usual = KINDS[name]
    net = getattr(keras_cv.models, kind)(**{**usual, **sizes, "include_rescaling": True, **words})
    for number, variable in enumerate(net.variables):
        random = np.random.default_rng(number)
        variable.assign(random.uniform(0.1, 0.2, variable.shape) * random.choice(
            [-1, 1], variable.shape) if "kernel" in variable.name else random.uniform(0.5, 1.0, variable.shape))
    return net


@pytest.mark.parametrize("name", KINDS)
def test_three_maps_each_half_the_one_before_and_every_variable_trained(name):
    backbone = KerasCvBackbone(name, TINY[name])
    maps = backbone(IMAGES)
    sides = [maps[key].shape[1] for key in ("map3", "map4", "map5")]
    assert sides == [4 * sides[2], 2 * sides[2], sides[2]] and sides[2] > 1
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(backbone(IMAGES, training=True)["map5"] ** 2)
    assert all(gradient is not None for gradient in tape.gradient(value, backbone.trainable_variables))


@pytest.mark.parametrize("name, values", [("resnet", 11_186_112), ("resnet_v2", 11_183_488),
                                          ("mobilenet_v3", 939_120)])
def test_the_usual_sizes_are_those_of_the_published_nets(name, values):
    """ResNet-18 without its last layer has 11,176,512 weights and 2 x 4,800 moving statistics."""
    assert sum(variable.shape.num_elements() for variable in KerasCvBackbone(name).variables) == values


@pytest.mark.parametrize("name", ["resnet", "efficientnet_v2"])
@pytest.mark.parametrize("ending", [".h5", ".weights.h5"])
def test_a_file_of_weights_gives_their_network(name, ending, tmp_path):
    net, path = theirs(name, TINY[name]), str(tmp_path / f"net{ending}")
    net.save_weights(path)
    found = KerasCvBackbone(name, TINY[name], weights=path)(IMAGES)["map5"]
    expected = net(255 * IMAGES)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("ending", [".h5", ".weights.h5"])
def test_a_file_of_another_network_is_refused(ending, tmp_path):
    path = str(tmp_path / f"net{ending}")
    for blocks in ((1, 1, 2), (2, 1, 1)):
        theirs(stackwise_blocks=blocks).save_weights(path)
        with pytest.raises(ValueError, match="its weights are not of these sizes"):
            KerasCvBackbone(sizes=RESNET, weights=path)


def test_files_that_are_missing_or_damaged_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="`weights` is .*none.h5 but there is no such file"):
        KerasCvBackbone(sizes=RESNET, weights=str(tmp_path / "none.h5"))
    (tmp_path / "bad.h5").write_bytes(b"no HDF5")
    with pytest.raises(OSError, match="bad.h5 but it cannot be read as HDF5"):
        KerasCvBackbone(sizes=RESNET, weights=str(tmp_path / "bad.h5"))


def test_a_preset_is_their_network_and_out_of_reach_a_sentence(tmp_path, monkeypatch):
    net, kind = theirs(), keras_cv.models.ResNetBackbone
    save_to_preset(net, str(tmp_path / "preset"))
    fetch = kind.from_preset
    monkeypatch.setattr(kind, "from_preset", lambda preset, **words: fetch(str(tmp_path / "preset"), **words))
    np.testing.assert_allclose(KerasCvBackbone(weights="preset:resnet50_imagenet")(IMAGES)["map5"],
                               net(255 * IMAGES), rtol=1e-4)

    def offline(preset, **words):
        raise requests.exceptions.ConnectionError("no route\nto host")
    monkeypatch.setattr(kind, "from_preset", offline)
    with pytest.raises(ValueError, match="'resnet50_imagenet' cannot be fetched .ConnectionError.; save its weights"):
        KerasCvBackbone(weights="preset:resnet50_imagenet")


def test_grey_images_are_repeated_and_other_channels_have_a_stem_of_their_own():
    grey = KerasCvBackbone(sizes=RESNET, channels=1)
    np.testing.assert_array_equal(grey(IMAGES[..., :1])["map5"], grey(np.repeat(IMAGES[..., :1], 3, -1))["map5"])
    network = EmbeddingNetwork(f"keras_cv(sizes={RESNET})", "average()", 4, (64, 64, 5))
    assert network(np.zeros([1, 64, 64, 5], np.float32)).shape == (1, 4)
    assert network.backbone.channels == 5


def test_training_draws_nothing_at_random():
    backbone = KerasCvBackbone("efficientnet_v2", {**TINY["efficientnet_v2"], "skip_connection_dropout": 0.5})
    one, two = (backbone(IMAGES, training=True)["map5"] for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_refusals():
    for words, message in (
            ({"name": "vgg"}, "`name` is 'vgg' but must be one of resnet, resnet_v2"),
            ({"sizes": {"blocks": 1}}, "`sizes` has blocks but resnet takes stackwise_filters"),
            ({"sizes": {"stackwise_blocks": (1, 2)}}, "different numbers of stages .4 stackwise_filters, 2"),
            ({"sizes": {"stackwise_blocks": (1, 2, 2, "x")}}, "but make no network"),
            ({"sizes": {key: value[:2] if len(value) == 3 else value for key, value in RESNET.items()}},
             "make 2 pyramid levels but must make at least 3"),
            ({"weights": "preset:nope"}, "'preset:nope' but the presets of resnet are resnet50_imagenet"),
            ({"weights": "preset:resnet50_imagenet", "channels": 5}, "takes images of 1 or 3 channels")):
        with pytest.raises(ValueError, match=message):
            KerasCvBackbone(**words)


@pytest.mark.slow
def test_two_replicas_train_as_one():
    def weights(replicas):
        done = subprocess.run([sys.executable, "-m", "tests.keras_apps.backbones.test_keras_cv", str(replicas)],
                              cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])        # the test itself imports keras-cv, which prints
    one, two = weights(1), weights(2)
    assert sum("moving_" in name for name in one) > 10
    for name in one:
        np.testing.assert_allclose(two[name], one[name], atol=1e-5, err_msg=name)


def main(replicas):
    """Prints every variable after three steps, moving statistics as the first replica has them."""
    strategy = make_strategy("mirrored" if replicas > 1 else "one", replicas)
    with strategy.scope():
        tf.keras.utils.set_random_seed(0)
        net, optimizer = KerasCvBackbone("efficientnet_v2", TINY["efficientnet_v2"]), SgdOptimizer(rate=0.1)
        optimizer.build(net.trainable_variables)

    def replica():
        context = tf.distribute.get_replica_context()
        share = len(IMAGES) // replicas
        own = tf.constant(IMAGES)[context.replica_id_in_sync_group * share:][:share]
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(net(own, training=True)["map5"] - 0.5)) / replicas
        gradients = tape.gradient(loss, net.trainable_variables)
        optimizer.apply_gradients(zip(gradients, net.trainable_variables))
    step = tf.function(lambda: strategy.run(replica), autograph=False)
    for _ in range(3):
        step()
    print(json.dumps({f"{i}/{variable.name}": variable.numpy().tolist() for i, variable in enumerate(net.variables)}))


if __name__ == "__main__":
    main(int(sys.argv[1]))


def test_moving_statistics_keep_up_with_short_trainings():
    net = KerasCvBackbone("mobilenet_v3", TINY["mobilenet_v3"])
    norms = [layer for layer in net.submodules if isinstance(layer, tf.keras.layers.BatchNormalization)]
    assert norms and all(layer.momentum <= 0.9 for layer in norms)
