import numpy as np
import pytest

from keras_apps.metrics.sensitivity import output_sensitivity

IMAGES = np.random.default_rng(0).random((12, 4, 5, 2))
WEIGHTS = np.random.default_rng(1).normal(size=(40, 3))


def linear(images):
    return images.reshape(len(images), -1) @ WEIGHTS + 7


def curved(images):
    return np.tanh(linear(images) / 5)


def test_it_equals_the_loop():
    found = output_sensitivity(curved, IMAGES, seed=3, sigma=0.1, draws=5)
    assert list(found) == ["variance", "relative"] and all(type(value) is float for value in found.values())
    generator, means, squares = np.random.default_rng(3), [], []
    for _ in range(5):
        noise = 0.1 * generator.standard_normal(IMAGES.shape)
        for image, e in zip(IMAGES, noise):
            move = curved((image + e)[None])[0] - curved(image[None])[0]
            means.append(sum(move) / 3)
            squares.append(sum(move * move) / 0.1**2)
    middle = sum(means) / len(means)
    assert found["variance"] == pytest.approx(sum((mean - middle) ** 2 for mean in means) / len(means), abs=1e-9)
    assert found["relative"] == pytest.approx(np.mean(squares), abs=1e-9)


@pytest.mark.parametrize("sigma", [1e-3, 0.05, 10.0])
def test_of_a_linear_score_it_is_the_sum_of_squared_weights(sigma):
    found = output_sensitivity(linear, IMAGES, seed=0, sigma=sigma, draws=300)
    assert found["relative"] == pytest.approx(np.square(WEIGHTS).sum(), rel=0.03)
    assert found["variance"] == pytest.approx(sigma**2 * np.square(WEIGHTS.mean(axis=1)).sum(), rel=0.05)


def test_of_an_orthogonal_score_it_is_exact_up_to_the_noise_drawn():
    # f(x) = 2 x: |f(x + e) - f(x)|^2 = 4 |e|^2.
    noise = np.random.default_rng(5).standard_normal(IMAGES.shape)
    found = output_sensitivity(lambda images: 2 * images.reshape(len(images), -1), IMAGES, 5, 0.3, draws=1)
    assert found["relative"] == pytest.approx(4 * np.square(noise).sum() / len(IMAGES), rel=1e-9)


@pytest.mark.parametrize("score", [linear, curved])
def test_it_grows_with_the_square_of_the_gain(score):
    base = output_sensitivity(score, IMAGES, seed=2)
    for gain in (0.0, -1.0, 3.0, 1e3):
        found = output_sensitivity(lambda images, gain=gain: gain * score(images), IMAGES, seed=2)
        for name in base:
            assert found[name] == pytest.approx(gain**2 * base[name], rel=1e-6)
    shifted = output_sensitivity(lambda images: score(images) + [1, -2, 3], IMAGES, seed=2)
    assert shifted == pytest.approx(base, rel=1e-6)


def test_what_it_depends_on():
    found = output_sensitivity(curved, IMAGES, seed=4)
    assert output_sensitivity(curved, IMAGES, seed=4) == found != output_sensitivity(curved, IMAGES, seed=5)
    assert output_sensitivity(lambda images: curved(images)[:, [2, 0, 1]], IMAGES, seed=4) == pytest.approx(found)
    assert output_sensitivity(lambda images: np.ones((len(images), 3)), IMAGES, seed=4) == dict.fromkeys(found, 0.0)
    # Classes that move against each other keep their mean: only `relative` sees it.
    against = output_sensitivity(lambda images: linear(images)[:, :1] * [1, -1], IMAGES, seed=4)
    assert against["variance"] < 1e-20 < 1 < against["relative"]
    one = output_sensitivity(lambda images: linear(images)[:, :1], IMAGES[:1], seed=4, draws=1)
    assert one["variance"] == 0 < one["relative"]


def test_images_keep_their_dtype_and_are_not_changed():
    images, seen = IMAGES.astype(np.float32), []
    before = images.copy()
    found = output_sensitivity(lambda images: seen.append(images.dtype) or linear(images), images, seed=0, draws=3)
    assert set(seen) == {np.dtype(np.float32)} and len(seen) == 4
    np.testing.assert_array_equal(images, before)
    assert found["relative"] > 0
    half = IMAGES.astype(np.float16)
    assert output_sensitivity(linear, half, seed=0)["relative"] > 0


@pytest.mark.parametrize("call, told", [
    (lambda: output_sensitivity(linear, IMAGES[:0], 0), r"`images` is float64 \(0, 4, 5, 2\)"),
    (lambda: output_sensitivity(linear, np.uint8(IMAGES), 0), "`images` is uint8"),
    (lambda: output_sensitivity(linear, IMAGES, 0, sigma=0), "`sigma` is 0 but must be finite and above 0"),
    (lambda: output_sensitivity(linear, IMAGES, 0, sigma=np.nan), "`sigma` is nan"),
    (lambda: output_sensitivity(linear, IMAGES, 0, draws=0), "`draws` is 0"),
    (lambda: output_sensitivity(linear, IMAGES, 0, draws=2.5), "`draws` is 2.5"),
    (lambda: output_sensitivity(linear, IMAGES * np.nan, 0), "36 values that are not finite"),
    (lambda: output_sensitivity(lambda images: linear(images)[:, 0], IMAGES, 0), r"gave the shape \(12,\)"),
    (lambda: output_sensitivity(lambda images: linear(images)[1:], IMAGES, 0), r"gave the shape \(11, 3\)"),
])
def test_wrong_input_is_refused(call, told):
    with pytest.raises(ValueError, match=told):
        call()
