"""An embedding that judges: by labels or turns, at its own size; taken from a run only of images made alike."""

import types

import numpy as np
import pytest
import tensorflow as tf

from keras_apps import turns
from keras_apps.recogniser import Recogniser, of_run
from keras_apps.run import Run
from tests.keras_apps.runs import run_train, small_config
from tfrecords.decode import Decoder

SETTINGS = types.SimpleNamespace(backbone="small_cnn(widths=(4, 4, 8))", pooling="flatten()", embedding=8, dropout=0.0,
                                 head="linear()", mirror=False, get=lambda name, default: default)
SEED = tf.constant([1, 2])
IMAGES = np.random.default_rng(0).random((4, 16, 16, 1)).astype(np.float32)


def made(classes, size=16):
    tf.keras.utils.set_random_seed(0)
    return Recogniser(SETTINGS, size, 1, classes, 0)


def test_labels_are_learnt_where_there_are_some_and_turns_where_not():
    labels = np.array([0, 1, 2, 0], np.int32)
    named, unnamed = made(3), made(1)
    assert named.loss(IMAGES, labels, SEED, 0).shape == unnamed.loss(IMAGES, labels, SEED, 0).shape == [4]
    assert unnamed.head.logits(unnamed.network(IMAGES)).shape[1] == turns.TURNS
    other = np.array([1, 1, 1, 1], np.int32)
    assert np.abs(named.loss(IMAGES, labels, SEED, 0) - named.loss(IMAGES, other, SEED, 0)).max() > 0
    np.testing.assert_array_equal(unnamed.loss(IMAGES, labels, SEED, 0), unnamed.loss(IMAGES, other, SEED, 0))


def test_a_few_steps_lower_the_loss():
    recogniser, labels = made(4), np.arange(4, dtype=np.int32)
    optimizer, values = tf.keras.optimizers.Adam(1e-2), []
    for _ in range(15):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(recogniser.loss(IMAGES, labels, SEED, 0))
        optimizer.apply_gradients(zip(tape.gradient(loss, recogniser.trainable), recogniser.trainable))
        values.append(float(loss))
    assert values[-1] < 0.5 * values[0]


def test_images_of_other_sizes_are_brought_to_its_own():
    recogniser = made(3)
    large = np.random.default_rng(1).random((2, 30, 20, 1)).astype(np.float32)
    found = recogniser.look(large)
    np.testing.assert_allclose(found, recogniser.look(tf.image.resize(large, (16, 16), antialias=True)), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    assert recogniser.maps(large)["map3"].shape[1:3] == [15, 10], "its maps are of the image as it is"


def test_a_run_gives_its_vectors_without_its_head(data, trained):
    run = Run(small_config(), str(data), tf.distribute.get_strategy())
    loop = run.loop(str(trained))
    loop.restore(training=False)
    recogniser, known = of_run(str(trained), run.decoder)
    images = run.splits["test"].load()
    with loop.averaged():
        np.testing.assert_allclose(recogniser.look(images), run.app.embed(images), atol=1e-5)
    assert recogniser.head is None and set(known) == {run.splits["train"].names[i]
                                                      for i in run.splits["train"].identities}


@pytest.mark.parametrize("decoder, message", [
    (Decoder(12, 3), "whose `channels` is 1, but of the images here it is 3"),
    (Decoder(12, 1, fit="pad"), "whose `fit` is stretch, but of the images here it is pad"),
    (Decoder(12, 1, low=5.0), r"whose `low` is \[0.0\], but of the images here it is \[5.0\]"),
])
def test_a_run_of_images_made_in_another_way_is_refused(trained, decoder, message):
    with pytest.raises(ValueError, match=message):
        of_run(str(trained), decoder)


def test_a_run_without_a_head_will_do_and_another_app_will_not(data, tmp_path):
    config = small_config(head="", loss="triplet()", weights={"head": 0.0, "metric": 1.0})
    run_train(data, tmp_path / "run", config)
    assert of_run(str(tmp_path / "run"), Decoder(12, 1))[0].head is None
    with pytest.raises(ValueError, match="holds no config.json"):
        of_run(str(tmp_path / "nothing"), Decoder(12, 1))
