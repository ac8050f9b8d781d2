"""The probe: what scikit-learn's own pipeline says, in the units of the features as they come."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from keras_apps import probe
from keras_apps.metrics.calibration import softmax

RANDOM = np.random.default_rng(0)


def blobs(count, classes, size=6, apart=2.0):
    labels = np.arange(count) % classes
    centres = np.random.default_rng(7).normal(size=[classes, size]) * apart
    return centres[labels] + np.random.default_rng(1).normal(size=[count, size]), labels


@pytest.mark.parametrize("classes", [2, 3])
def test_it_is_a_regularised_logistic_regression_on_standardised_features(classes):
    x, labels = blobs(60, classes)
    x = x * np.array([1, 10, 0.1, 1, 100, 1]) + 5
    weights, bias, strength = probe.fit(x, labels, classes)
    scaler = StandardScaler().fit(x)
    model = LogisticRegression(C=strength, max_iter=200).fit(scaler.transform(x), labels)
    np.testing.assert_allclose(softmax(x @ weights + bias), model.predict_proba(scaler.transform(x)), atol=1e-9)


def test_noise_asks_for_a_stronger_penalty_than_signal():
    x, labels = blobs(80, 2, apart=3.0)
    noise = RANDOM.normal(size=[80, 200])
    assert probe.fit(noise, labels, 2)[2] < probe.fit(x, labels, 2)[2]


def test_images_of_a_patient_lie_in_one_fold():
    # The features name the patient, each of one class: only folds of whole patients show that this is no signal.
    units = np.repeat(np.arange(20), 4)
    labels = (np.arange(20) % 2)[units]
    x = np.eye(20)[units] + 0.01 * RANDOM.normal(size=[80, 20])
    assert probe.fit(x, labels, 2, units)[2] < probe.fit(x, labels, 2)[2]


def test_constant_features_and_few_images_are_no_trouble():
    x, labels = blobs(4, 2)
    weights, bias, _ = probe.fit(np.c_[x, np.ones(4)], labels, 2)
    assert np.isfinite(weights).all() and np.isfinite(bias).all() and not weights[-1].any()
    with pytest.raises(ValueError, match="there must be 2 classes of 2 images each"):
        probe.fit(x[:3], labels[:3], 2)


def test_a_class_without_images_is_never_answered():
    x, labels = blobs(40, 2)
    weights, bias, _ = probe.fit(x, 2 * labels, 3)
    answers = softmax(x @ weights + bias)
    assert answers[:, 1].max() == 0
    pair, shift, _ = probe.fit(x, labels, 2)
    np.testing.assert_allclose(answers[:, [0, 2]], softmax(x @ pair + shift), atol=1e-9)


def test_the_floor_of_thumbnails_tells_bright_images_from_dark():
    labels = np.arange(40) % 2
    images = (0.3 + 0.4 * labels[:, None, None, None] + 0.05 * RANDOM.normal(size=[40, 20, 28, 1])).astype(np.float32)
    floor = probe.thumbnail_floor(images[:20], labels[:20], 2)
    answers = floor(images[20:])
    assert answers.shape == (20, 2) and (answers.argmax(axis=1) == labels[20:]).all()
    np.testing.assert_allclose(answers.sum(axis=1), 1)
