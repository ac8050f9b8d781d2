"""Every row: what it says, and our side on very little work, without the peers' environment."""

import io

import numpy as np
import pytest

from benchmarks import augmented, pictures
from benchmarks import row as rows

PATHS = rows.files()


@pytest.mark.parametrize("name", PATHS)
def test_a_row_names_its_work_and_its_limit(name):
    row = rows.load(PATHS[name]).row()
    assert "equal: " in row.work and "limit: " in row.work and row.inputs and row.headline in row.peers
    assert row.limit or callable(row.ours.bound), "a limit that is not stated is measured"


@pytest.mark.parametrize("name", PATHS)
def test_our_side_works_and_agrees_with_itself(name):
    module = rows.load(PATHS[name])
    row = module.row(**module.TINY)
    inputs = row.inputs()
    side = row.ours(inputs)
    assert side.call() > 0 and (row.limit or side.bound() > 0)
    ours = side.result()
    assert row.equal(inputs, ours, ours) == 0.0
    assert all(np.isfinite(values).all() for values in ours.values())


def test_textures_are_seeded_and_smooth():
    some = pictures.textures(3, 40, 60, seed=1)
    assert some.shape == (3, 40, 60, 3) and some.dtype == np.uint8
    np.testing.assert_array_equal(some, pictures.textures(3, 40, 60, seed=1))
    assert (some != pictures.textures(3, 40, 60, seed=2)).any() and (some[0] != some[1]).any()
    steps = np.abs(np.diff(some.astype(float), axis=2)).mean()
    assert 0 < steps < np.abs(some.astype(float) - some.mean()).mean() / 2, "neighbours are alike, as in photographs"


def test_moments_of_each_size_apart():
    random = np.random.default_rng(0)
    large, small = random.random((5, 8, 8, 3)), random.random((7, 4, 4, 3)) / 2
    found = augmented.moments([large[:2], small, large[2:]])
    for place, images in enumerate((small, large)):
        np.testing.assert_allclose(found["mean"][place], images.mean((0, 1, 2)), rtol=0, atol=1e-12)
        np.testing.assert_allclose(found["deviation"][place], images.std((0, 1, 2)), rtol=0, atol=1e-12)
    other = {"mean": found["mean"] + 0.01, "deviation": found["deviation"] - 0.02}
    assert augmented.moments_differ(None, found, other) == pytest.approx(0.02)


def test_m8_counts_batches_that_are_not_p_times_k():
    module = rows.load(PATHS["M8"])
    labels = np.repeat(np.arange(64), 4)
    good = np.arange(256).reshape(2, 128)
    twice, mixed, again = good.copy(), good.copy(), good.copy()
    twice[0, 1] = twice[0, 0]           # an image twice
    mixed[0, 3] = mixed[0, 4]           # an identity with 3 images
    again[0, 4:8] = again[0, :4]        # an identity twice
    for bad in (twice, mixed, again):
        assert module.equal({"labels": labels}, {"rows": good}, {"rows": bad}) == 0.5
        assert module.equal({"labels": labels}, {"rows": bad}, {"rows": good}) == 0.5
    assert module.equal({"labels": labels}, {"rows": good}, {"rows": good[:, ::-1]}) == 0.0


def test_p9_normalises_and_tells_differences_in_levels():
    module = rows.load(PATHS["P9"])
    pixels = np.random.default_rng(0).random((2, module.SIDE, module.SIDE, 3), np.float32)
    normal = module.normalise(pixels).numpy()
    np.testing.assert_allclose(normal, (pixels - module.MEAN) / module.DEVIATION, rtol=0, atol=1e-5)
    brighter = module.normalise(pixels + np.float32(2 / 255)).numpy()
    assert module.equal(None, {"pixels": normal}, {"pixels": brighter}) == pytest.approx(2.0, abs=1e-3)


def test_p9_images_are_jpegs_and_stay_whole():
    Image = pytest.importorskip("PIL.Image")
    module = rows.load(PATHS["P9"])
    arrays = module.inputs(3)
    opened = [Image.open(io.BytesIO(jpeg)) for jpeg in module.files(arrays)]
    assert [image.size for image in opened] == [(500, 375)] * 3
    assert all(image.format == "JPEG" and image.layer[0][1:3] == (2, 2) for image in opened), "4:2:0"
    assert len(arrays["boxes"]) == len(arrays["flips"]) == 3
