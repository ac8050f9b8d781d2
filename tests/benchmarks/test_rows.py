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
    for call in (side.call,) if row.limit else (side.call, side.bound):
        assert np.min(call()) > 0  # items, or items and seconds
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


def test_t1_the_loop_takes_the_bare_steps():
    module = rows.load(PATHS["T1"])
    inputs = module.inputs(**module.TINY)
    ours, bare = module.NoLogs(inputs).result(), module.Bare(inputs).result()
    assert set(ours) == set(bare) and sum(path.startswith("average/") for path in ours) > 10
    assert module.equal(inputs, ours, bare) < 1e-6
    assert all((ours[path] != values).any() for path, values in inputs.items() if "/" in path), "all is trained"
    assert module.equal(inputs, ours, {**bare, "head/bias": bare["head/bias"] + 0.5}) == pytest.approx(0.5, abs=1e-5)


def test_t1_the_network_has_as_many_parameters_as_the_work_says():
    module = rows.load(PATHS["T1"])
    inputs = module.inputs(8, 1, (32, 64, 128, 256))
    assert sum(values.size for path, values in inputs.items() if "/" in path) == pytest.approx(1.3e6, rel=0.03)
    assert all(np.abs(values).max() > 0 for path, values in inputs.items() if "/" in path)


def test_t1_kernels_turn_to_pytorch_and_back():
    module, kernel = rows.load(PATHS["T1"]), np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    turned = module.outputs_first("a/kernel", kernel)
    assert turned.shape == (5, 4, 2, 3) and turned[4, 3, 1, 2] == kernel[1, 2, 3, 4]
    np.testing.assert_array_equal(module.outputs_last("a/kernel", turned), kernel)
    np.testing.assert_array_equal(module.outputs_first("a/kernel", kernel[0, 0]), kernel[0, 0].T)
    np.testing.assert_array_equal(module.outputs_first("head/weights", kernel[0, 0]), kernel[0, 0])


def test_t1_the_gate_lets_as_many_steps_through_as_asked_and_tells_what_fails():
    module, taken = rows.load(PATHS["T1"]), []

    class Steps:
        def run(self):
            for step in range(5):
                gate.at(step)
                taken.append(step)
            raise ValueError("the loop's own fault")

    gate = module.Gate()
    gate.open(Steps())
    assert taken == []
    gate.take(3)
    assert taken == [0, 1, 2]
    with pytest.raises(ValueError, match="the loop's own fault"):
        gate.take(4)
    assert taken == [0, 1, 2, 3, 4]


def test_t1_the_limit_uses_every_convolution_once():
    tf, module = pytest.importorskip("tensorflow"), rows.load(PATHS["T1"])
    kernels = [tf.ones(shape) for shape in ((3, 3, 3, 4), (3, 3, 4, 4), (3, 3, 4, 4), (3, 3, 4, 5), (3, 3, 5, 5),
                                            (1, 1, 4, 5))]
    left = iter(kernels)
    assert module._convolved(tf.ones([2, 8, 8, 3]), left, 2).shape == (2, 4, 4, 5) and next(left, None) is None


def test_t4_finds_what_was_saved_and_keeps_three():
    module = rows.load(PATHS["T4"])
    inputs = module.row(**module.TINY).inputs()
    side = module.Ours(inputs)
    found = side.result()
    for path, values in inputs.items():
        if "/" in path:
            np.testing.assert_array_equal(found[path], values)
            np.testing.assert_array_equal(found[f"average/{path}"], values)
    assert len(side.loop.checkpoints.paths()) == 3
