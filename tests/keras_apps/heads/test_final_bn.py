import numpy as np
import pytest
import tensorflow as tf

from keras_apps.heads.final_bn import FinalBnHead
from keras_apps.heads.linear import LinearHead
from keras_apps.layers.batch_norm import LEAST
from keras_apps.losses.classify.cross_entropy import CrossEntropyLoss

LABELS = np.array([0, 3, 2, -1, 3, 1, 0, 2])
EMBEDDINGS = np.random.default_rng(0).normal(size=[8, 5])
PLACES = ["logits", "features"]


def make(place, **words):
    """A head off its first weights, gain and bias of the normalisation included."""
    head, generator = FinalBnHead(classes=4, dimension=5, seed=1, place=place, **words), np.random.default_rng(1)
    for variable in head.trainable_variables:
        variable.assign_add(0.5 * generator.normal(size=variable.shape))
    return head


def parts(head):
    norm, bias = head.norm, 0.0 if head.bias is None else head.bias
    held = norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance
    return [np.asarray(part, np.float64) for part in (head.weights, bias, *held)]


def naive(head, embeddings, training):
    """The logits [b, K], row by row and column by column."""
    weights, bias, gamma, beta, mean, variance = parts(head)

    def normalised(x):
        y = np.zeros_like(x)
        for j in range(x.shape[1]):
            m, v = (x[:, j].mean(), x[:, j].var()) if training else (mean[j], variance[j])
            y[:, j] = [gamma[j] * (one - m) / np.sqrt(v + LEAST) + beta[j] for one in x[:, j]]
        return y

    def product(x):
        return np.array([[row @ w for w in weights] for row in x]) + bias
    return normalised(product(embeddings)) if head.place == "logits" else product(normalised(embeddings))


def naive_loss(head, embeddings, labels):
    logits = naive(head, embeddings, training=True)
    own = [z[label] for z, label in zip(logits, labels)]
    return np.where(labels < 0, 0, np.log(np.exp(logits).sum(axis=1)) - own)


@pytest.mark.parametrize("place", PLACES)
def test_equals_the_loop_in_training_and_in_judgement(place):
    head = make(place)
    for _ in range(3):      # statistics move, and the training value does not mind
        wanted = naive_loss(head, EMBEDDINGS, LABELS)
        np.testing.assert_allclose(head.loss(EMBEDDINGS, LABELS, 0), wanted, atol=1e-5, rtol=0)
    wanted = naive(head, EMBEDDINGS, training=False)
    np.testing.assert_allclose(head.logits(EMBEDDINGS), wanted, atol=1e-5)
    np.testing.assert_allclose(head.logits(EMBEDDINGS, training=False), wanted, atol=1e-5)
    np.testing.assert_allclose(head.logits(EMBEDDINGS, training=True), naive(head, EMBEDDINGS, True), atol=1e-5)


@pytest.mark.parametrize("place", PLACES)
def test_gradient_matches_central_differences_of_the_loop(place):
    head, embeddings = make(place), tf.constant(EMBEDDINGS)
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        value = head.loss(embeddings, LABELS, 0)
    gradient = tape.gradient(value, embeddings)
    for seed in range(3):
        way = np.random.default_rng(seed).normal(size=EMBEDDINGS.shape)
        rise = (naive_loss(head, EMBEDDINGS + 1e-6 * way, LABELS) - naive_loss(head, EMBEDDINGS - 1e-6 * way, LABELS))
        np.testing.assert_allclose(np.sum(gradient * way), rise.sum() / 2e-6, atol=2e-5)    # all but this is float32


@pytest.mark.parametrize("place", PLACES)
def test_a_loss_on_its_training_logits_is_its_own(place):
    wanted = make(place).loss(EMBEDDINGS, LABELS, 0)
    logits = make(place).logits(EMBEDDINGS, training=True)
    np.testing.assert_allclose(CrossEntropyLoss()(logits, LABELS), wanted, atol=1e-6)


@pytest.mark.parametrize("place", PLACES)
def test_only_training_moves_the_statistics_towards_those_of_the_batch(place):
    head = make(place, momentum=0.75)
    _, _, _, _, mean, variance = parts(head)
    head.logits(EMBEDDINGS)
    np.testing.assert_array_equal(parts(head)[4:], [mean, variance])
    head.loss(EMBEDDINGS, LABELS, 0)
    x = EMBEDDINGS @ parts(head)[0].T if place == "logits" else EMBEDDINGS
    np.testing.assert_allclose(parts(head)[4], 0.25 * x.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(parts(head)[5], 0.75 + 0.25 * x.var(axis=0), atol=1e-5)
    quick = make(place, momentum=0.0)
    np.testing.assert_allclose(quick.logits(EMBEDDINGS, training=True), quick.logits(EMBEDDINGS), atol=1e-5)


def test_in_training_the_logits_of_each_class_vary_alike():
    logits = FinalBnHead(4, 5).logits(EMBEDDINGS * [100, 1, 1, 1, 0.01], training=True).numpy()
    np.testing.assert_allclose(logits.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(logits.std(axis=0), 1, atol=1e-3)


def test_length_and_shift_of_the_batch_play_no_part():
    for place in PLACES:
        wanted = make(place).loss(EMBEDDINGS, LABELS, 0)
        np.testing.assert_allclose(make(place).loss(7 * EMBEDDINGS + 3, LABELS, 0), wanted, atol=1e-4)


def test_variables_and_first_losses():
    for place, shapes in (("logits", [(4,), (4,), (4, 5)]), ("features", [(4,), (4, 5), (5,), (5,)])):
        head = FinalBnHead(4, 5, place=place)
        assert sorted(tuple(variable.shape) for variable in head.trainable_variables) == shapes
        assert len(head.non_trainable_variables) == 2 and head.local == ()
        first = np.mean(head.loss(EMBEDDINGS, np.abs(LABELS), 0))
        assert np.log(4) - 0.7 < first < np.log(4) + 0.7


def test_mixed_precision_leaves_it_in_float32():
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        heads = [make(place) for place in PLACES]
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    for head in heads:
        value = head.loss(tf.cast(EMBEDDINGS, tf.float32), LABELS, 0)
        assert value.dtype == tf.float32
        np.testing.assert_array_equal(value, make(head.place).loss(tf.cast(EMBEDDINGS, tf.float32), LABELS, 0))


@pytest.mark.parametrize("place", PLACES)
def test_statistics_go_through_a_checkpoint(place, tmp_path):
    head = make(place)
    head.loss(EMBEDDINGS, LABELS, 0)
    path, other = tf.train.Checkpoint(head=head).write(str(tmp_path / "head")), FinalBnHead(4, 5, place=place)
    tf.train.Checkpoint(head=other).read(path).assert_consumed()
    np.testing.assert_array_equal(other.logits(EMBEDDINGS), head.logits(EMBEDDINGS))


def test_a_rare_class_is_learned_sooner_than_by_a_plain_softmax():
    """99 : 1, the rare class aside by a little: with the normalisation its images are told after few steps."""
    labels = (np.arange(200) >= 198).astype(np.int32)
    embeddings = (0.05 * np.random.default_rng(5).normal(size=[200, 4]) + 0.3 * labels[:, None]).astype(np.float32)

    def rare_after_training(head):
        for _ in range(8):
            with tf.GradientTape() as tape:
                value = tf.reduce_mean(head.loss(embeddings, labels, 0))
            for variable, slope in zip(head.trainable_variables, tape.gradient(value, head.trainable_variables)):
                variable.assign_sub(slope)
        return np.mean(tf.nn.softmax(head.logits(embeddings))[198:, 1])
    plain = rare_after_training(LinearHead(2, 4))
    assert plain < 0.2
    for place in PLACES:
        assert rare_after_training(FinalBnHead(2, 4, place=place, momentum=0.5)) > 2 * plain


@pytest.mark.parametrize("words, told", [
    ({"place": "weights"}, "^`place` is 'weights' but must be one of logits, features.$"),
    ({"momentum": 1.0}, r"^`momentum` is 1.0 but must lie in \[0, 1\)"), ({"momentum": -0.1}, "`momentum` is -0.1")])
def test_wrong_settings_are_refused(words, told):
    with pytest.raises(ValueError, match=told):
        FinalBnHead(4, 5, **words)
