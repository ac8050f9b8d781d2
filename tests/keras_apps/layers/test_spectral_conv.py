import numpy as np
import pytest
import tensorflow as tf

from keras_apps.layers.spectral_conv import SpectralConvLayer

MAPS = np.random.default_rng(0).normal(size=[2, 6, 5, 3])


@pytest.fixture
def policy(request):
    """Layers made under the policy named by the test's parameter, float64 without one."""
    tf.keras.mixed_precision.set_global_policy(getattr(request, "param", "float64"))
    tf.keras.utils.set_random_seed(0)
    yield
    tf.keras.mixed_precision.set_global_policy("float32")


def made(x=MAPS, **words):
    layer = SpectralConvLayer(**words)
    layer(x)
    return layer


def parts(layer):
    """(kernel as a matrix [k^2 d, filters], bias, u) as they are now."""
    kernel, bias = layer.wrapped.layer.kernel, layer.wrapped.layer.bias
    return kernel.numpy().reshape(-1, kernel.shape[-1]), bias.numpy(), layer.wrapped.u.numpy()[0]


def pass_of(w, u):
    """One step of power iteration, and the weights divided by what it finds."""
    v = w @ u / np.linalg.norm(w @ u)
    u = w.T @ v / np.linalg.norm(w.T @ v)
    return w / (v @ w @ u), u


@pytest.mark.parametrize("words", [{}, {"filters": 2, "kernel": 5, "stride": 2}, {"filters": 1, "kernel": 1}])
def test_a_pass_is_one_step_of_power_iteration(words, policy):
    layer = made(**words)
    for _ in range(3):
        w, bias, u = parts(layer)
        w, u = pass_of(w, u)
        y = layer(MAPS, training=True)
        np.testing.assert_allclose(parts(layer)[0], w, atol=1e-9, rtol=0)
        np.testing.assert_allclose(parts(layer)[2], u, atol=1e-9, rtol=0)
        size, stride = layer.wrapped.layer.kernel_size[0], layer.wrapped.layer.strides[0]
        wanted = tf.nn.conv2d(MAPS, w.reshape(size, size, 3, -1), stride, "SAME") + bias
        np.testing.assert_allclose(y, wanted, atol=1e-9, rtol=0)


def test_after_some_passes_the_largest_singular_value_is_one():
    layer = made(MAPS.astype(np.float32))
    assert abs(np.linalg.svd(parts(layer)[0])[1][0] - 1) > 0.1
    for _ in range(60):
        layer(MAPS.astype(np.float32), training=True)
    singular = np.linalg.svd(parts(layer)[0])[1]
    assert abs(singular[0] - 1) < 1e-3 and singular[-1] < 0.9, "the others keep their share"


def test_the_slope_is_bounded():
    """|W x| <= 1 for a patch of length one, and of 5 x 5 taps at every second place at most 9 see a pixel."""
    layer = made(MAPS.astype(np.float32), kernel=5, stride=2)
    for _ in range(60):
        layer(MAPS.astype(np.float32), training=True)
    random, largest = np.random.default_rng(1), 0.0
    y = random.normal(size=[1, 3, 3, 8]).astype(np.float32)
    for _ in range(30):         # power iteration on the convolution itself: its steepest direction
        x = tf.Variable(tf.zeros([1, 6, 5, 3]))
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(layer(x) * y)
        way = tape.gradient(total, x)
        way /= tf.norm(way)
        y = (layer(way) - layer(tf.zeros_like(way))).numpy()
        largest = max(largest, np.linalg.norm(y))
    assert 0.5 < largest <= 3.0
    one, other = random.normal(size=[2, 20, 6, 5, 3]).astype(np.float32)
    rise = np.linalg.norm((layer(one) - layer(other)).numpy().reshape(20, -1), axis=1)
    assert (rise <= largest * 1.001 * np.linalg.norm((one - other).reshape(20, -1), axis=1)).all()


def test_without_training_nothing_changes():
    layer, x = made(MAPS.astype(np.float32)), MAPS.astype(np.float32)
    before = [v.numpy() for v in layer.variables]
    np.testing.assert_array_equal(layer(x), layer(x, training=False))
    for variable, old in zip(layer.variables, before):
        np.testing.assert_array_equal(variable, old)


def test_gradients_are_those_of_the_divided_weights(policy):
    """To the input central differences tell; to the weights they are of the convolution alone, past sigma."""
    generator, step, layer = np.random.default_rng(3), 1e-5, made()
    for _ in range(5):
        layer(MAPS, training=True)
    kernel, x, shares = layer.wrapped.layer.kernel, tf.constant(MAPS), generator.normal(size=[2, 6, 5, 8])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        total = tf.reduce_sum(shares * tf.tanh(layer(x, training=True)))
    divided = kernel.numpy()
    for place, slope in ((x, tape.gradient(total, x)), (kernel, tape.gradient(total, kernel))):
        way, values = generator.normal(size=place.shape), []
        for sign in (step, -step):
            kernel.assign(divided + (sign * way if place is kernel else 0))
            values.append(np.sum(shares * np.tanh(layer(x if place is kernel else MAPS + sign * way))))
        np.testing.assert_allclose(np.sum(slope * way), (values[0] - values[1]) / (2 * step), atol=1e-6)


def test_images_count_one_by_one_also_in_training(policy):
    layer = made()
    for _ in range(200):
        layer(MAPS, training=True)      # until a pass changes nothing
    together = layer(MAPS, training=True)
    np.testing.assert_allclose(layer(MAPS[1:], training=True), together[1:], atol=1e-9)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"], indirect=True)
def test_half_precision_does_not_round_the_weights(policy):
    layer = made()
    kernel = layer.wrapped.layer.kernel
    before = kernel.numpy()
    y = layer(MAPS, training=True)
    assert y.dtype == tf.keras.mixed_precision.global_policy().compute_dtype and kernel.dtype == tf.float32
    ratio = kernel.numpy() / before
    np.testing.assert_allclose(ratio, np.full_like(ratio, ratio.mean()), rtol=1e-5)


def test_zero_and_huge_maps_stay_finite():
    layer = made(MAPS.astype(np.float32))
    for x in (np.zeros_like(MAPS), 1e15 * MAPS):
        assert np.isfinite(layer(x.astype(np.float32), training=True)).all()


def test_variables_and_a_known_shape():
    layer = SpectralConvLayer(filters=7, kernel=3, stride=2)
    assert layer(tf.keras.Input([9, 8, 4])).shape.as_list() == [None, 5, 4, 7]
    assert [tuple(v.shape) for v in layer.trainable_variables] == [(3, 3, 4, 7), (7,)]
    assert [tuple(v.shape) for v in layer.non_trainable_variables] == [(1, 7)]
    built = SpectralConvLayer(filters=7, kernel=3, stride=2)
    built.build([None, 9, 8, 4])
    assert [v.shape for v in built.variables] == [v.shape for v in layer.variables]


@pytest.mark.parametrize("words", [{"filters": 0}, {"kernel": 0}, {"stride": 0}])
def test_wrong_settings_are_refused(words):
    with pytest.raises(ValueError, match=r"^spectral_conv\(filters=.*, kernel=.*, stride=.*\) needs numbers of at"):
        SpectralConvLayer(**words)
