"""Faces from dictionaries: exact where the face is in the span, and better than the mean face elsewhere."""

import numpy as np
import pytest

from keras_apps.degradation import Degradation
from keras_apps.dictionaries import Dictionary
from tests.keras_apps.restored import faces

SIZE = (6, 4)


def reduce(images):
    return Degradation("area").reduce(np.float32(images), SIZE)


@pytest.fixture(scope="module")
def images():
    return faces(persons=12, each=4).astype(np.float32) / 255


def test_a_face_of_the_span_comes_back_but_for_the_ridge(images):
    few = images[:5]                    # fewer columns than small pixels: the coefficients are certain
    dictionary = Dictionary("pca", few, reduce, ridge=1e-9)
    np.testing.assert_allclose(dictionary(np.asarray(reduce(few))), few, atol=2e-3)


def test_the_coefficients_are_those_of_the_formula(images):
    dictionary = Dictionary("nmf", images[:20], reduce, atoms=6, ridge=0.1)
    low = np.asarray(reduce(images[20:22]))
    small = dictionary.small.astype(float)
    gram = small @ small.T + 0.1 * np.eye(6)
    for image, found in zip(low, dictionary(low)):
        coefficients = np.linalg.inv(gram) @ (small @ image.ravel())
        np.testing.assert_allclose(found.ravel(), coefficients @ dictionary.large, rtol=1e-3, atol=1e-4)
    assert dictionary.large.min() >= 0 and not dictionary.mean.any()


@pytest.mark.parametrize("kind", ["pca", "nmf"])
def test_other_faces_are_nearer_than_the_mean_face(kind, images):
    known, others = images[::2], images[1::2]
    made = Dictionary(kind, known, reduce)(np.asarray(reduce(others)))
    assert np.square(made - others).mean() < 0.7 * np.square(known.mean(axis=0) - others).mean()


def test_a_large_ridge_gives_the_mean_face(images):
    made = Dictionary("pca", images, reduce, ridge=1e9)(np.asarray(reduce(images[:2])))
    np.testing.assert_allclose(made, np.repeat(images.mean(axis=0)[None], 2, axis=0), atol=1e-3)


def test_what_cannot_be_is_refused(images):
    with pytest.raises(ValueError, match="dictionary 'svd' with ridge"):
        Dictionary("svd", images, reduce)
    with pytest.raises(ValueError, match="ridge 0"):
        Dictionary("pca", images, reduce, ridge=0)
