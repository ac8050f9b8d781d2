"""Every neck: maps -> one vector an image; what each adds to the last map alone."""

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.build import build, methods

RANDOM = np.random.default_rng(0)


def maps_of(images=3, sides=(8, 4, 2), widths=(3, 4, 5)):
    return {f"map{level}": tf.constant(RANDOM.random((images, side, side, width)), tf.float32)
            for level, side, width in zip((3, 4, 5), sides, widths)}


@pytest.mark.parametrize("name", methods("necks"))
def test_one_vector_an_image_by_itself(name):
    neck, maps = build("necks", name, pooling="average()"), maps_of()
    together = neck(maps)
    assert together.shape.rank == 2 and together.shape[0] == 3 and together.dtype == tf.float32
    alone = [neck({level: one[i:i + 1] for level, one in maps.items()}) for i in range(3)]
    np.testing.assert_allclose(tf.concat(alone, 0), together, atol=1e-5)
    graph = tf.function(lambda maps: neck(maps), input_signature=[
        {level: tf.TensorSpec([None, *one.shape[1:]], tf.float32) for level, one in maps.items()}])
    np.testing.assert_allclose(graph(maps), together, atol=1e-5)


@pytest.mark.parametrize("name, levels", [("last", {5}), ("multi_level(levels=1)", {5}), ("multi_level", {4, 5}),
                                          ("multi_level(levels=3)", {3, 4, 5}), ("mffm", {3, 4, 5})])
def test_gradients_reach_the_levels_it_takes_and_no_other(name, levels):
    neck, maps = build("necks", name, pooling="average()"), maps_of()
    with tf.GradientTape() as tape:
        tape.watch(maps)
        total = tf.reduce_sum(tf.square(neck(maps, training=True)))
    found = tape.gradient(total, maps)
    assert {int(level[-1]) for level, slope in found.items() if slope is not None and np.any(slope)} == levels


def test_levels_are_pooled_and_projected_each_by_itself():
    maps = maps_of()
    plain = build("necks", "multi_level(levels=2)", pooling="average()")(maps)
    np.testing.assert_allclose(plain, np.concatenate([maps[name].numpy().mean((1, 2)) for name in ("map4", "map5")], 1),
                               rtol=1e-5)
    neck = build("necks", "multi_level(levels=2, dimension=7)", pooling="average()")
    found = neck(maps)
    assert found.shape == (3, 14)
    np.testing.assert_allclose(found[:, 7:], maps["map5"].numpy().mean((1, 2)) @ neck.projections[1].kernel, rtol=1e-4)


def test_mffm_is_its_formula():
    neck, maps = build("necks", "mffm(widths=(2, 3, 4), fused=6)", pooling="average()"), maps_of()
    found = neck(maps).numpy()

    def convolved(x, layers):       # norms stand at mean 0, variance 1
        return np.maximum(tf.nn.conv2d(x, layers.layers[0].kernel, 1, "SAME").numpy() / np.sqrt(1 + 1e-5), 0)
    three, four, five = (convolved(maps[f"map{i}"], layers) for i, layers in zip((3, 4, 5), neck.reduce))
    three = three.reshape(3, 4, 2, 4, 2, -1).mean((2, 4))
    five = five.repeat(2, 1).repeat(2, 2)
    fused = convolved(np.concatenate([three, four, five], 3), neck.fuse)
    np.testing.assert_allclose(found, np.concatenate([fused.mean((1, 2)), maps["map5"].numpy().mean((1, 2))], 1),
                               rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("sides", [(8, 4, 4), (9, 5, 3), (7, 7, 7)])
def test_mffm_takes_maps_of_any_sizes(sides):
    assert build("necks", "mffm(widths=(2, 2, 2), fused=3)", pooling="average()")(maps_of(sides=sides)).shape == (3, 8)


@pytest.mark.parametrize("text", ["multi_level(levels=4)", "multi_level(levels=0)", "multi_level(dimension=-1)",
                                  "mffm(widths=(2, 2))", "mffm(widths=(2, 0, 2))", "mffm(fused=0)",
                                  "mffm(norm='spectral')", "last(pool='x')"])
def test_refusals(text):
    with pytest.raises(ValueError, match="needs|must be|takes|is not"):
        build("necks", text, pooling="average()")


def test_bam_is_its_formula():
    neck, maps = build("necks", "bam(reduction=2, norm='layer')", pooling="average()"), maps_of(widths=(3, 4, 6))
    neck(maps)
    map = maps["map5"]
    what = neck.what(tf.reduce_mean(map, (1, 2))).numpy()
    where = neck.where(map).numpy()
    assert what.shape == (3, 6) and where.shape == (3, 2, 2, 1)
    sizes = [tuple(one.kernel.shape) + one.dilation_rate for one in neck.where.layers if hasattr(one, "dilation_rate")]
    assert sizes == [(1, 1, 6, 3, 1, 1), (3, 3, 3, 3, 2, 2), (3, 3, 3, 3, 2, 2), (1, 1, 3, 1, 1, 1)]
    attended = map * (1 + 1 / (1 + np.exp(-what[:, None, None] - where)))
    np.testing.assert_allclose(neck(maps), attended.numpy().mean((1, 2)), rtol=1e-5)


@pytest.mark.parametrize("text, message", [("bam(reduction=0)", "needs both >= 1"), ("bam(norm='x')", "`norm` is 'x'")])
def test_bam_refuses(text, message):
    with pytest.raises(ValueError, match=message):
        build("necks", text, pooling="average()")
