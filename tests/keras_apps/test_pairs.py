"""Pairs of the global batch on one replica; tests/contracts/test_replicas.py holds them on 1, 2 and 4."""

import numpy as np
import pytest
import tensorflow as tf

from keras_apps import pairs

EMBEDDINGS = np.random.default_rng(0).normal(size=(6, 3))
LABELS = np.array([0, 1, 1, -1, 2, 0])


@pytest.mark.parametrize("make", [tf.distribute.get_strategy, lambda: tf.distribute.MirroredStrategy(["CPU:0"])],
                         ids=["one", "mirrored over one"])
def test_one_replica_gathers_its_own_batch_at_offset_0(make):
    everyone, labels, offset = make().run(lambda: pairs.across(tf.constant(EMBEDDINGS), tf.constant(LABELS)))
    np.testing.assert_array_equal(everyone, EMBEDDINGS)
    np.testing.assert_array_equal(labels, LABELS)
    assert offset.dtype == tf.int32 and offset.shape == [] and int(offset) == 0


def test_outside_of_replicas_the_batch_is_the_global_one():
    """A loss asked in a strategy's scope, as in a test or a notebook, has no replica context."""
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        assert tf.distribute.get_replica_context() is None
        everyone, labels, offset = pairs.across(tf.constant(EMBEDDINGS), tf.constant(LABELS))
    np.testing.assert_array_equal(everyone, EMBEDDINGS)
    np.testing.assert_array_equal(labels, LABELS)
    assert int(offset) == 0


def test_the_columns_carry_their_share_of_the_gradient():
    """d/dx of sum_ij w_ij x_i . x_j has a part by rows and a part by columns; a stopped gather loses the second."""
    weights = np.random.default_rng(1).normal(size=(6, 6))
    own = tf.constant(EMBEDDINGS)
    with tf.GradientTape() as tape:
        tape.watch(own)
        everyone, _, _ = pairs.across(own, tf.constant(LABELS))
        total = tf.reduce_sum(weights * tf.matmul(own, everyone, transpose_b=True))
    np.testing.assert_allclose(tape.gradient(total, own), (weights + weights.T) @ EMBEDDINGS, atol=1e-12)


def test_a_loss_that_picks_columns_sends_a_dense_gradient():
    tensor = tf.constant(EMBEDDINGS)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        dense = pairs._dense(tensor)
        with tape.stop_recording():
            np.testing.assert_array_equal(dense, EMBEDDINGS)
        total = tf.reduce_sum(tf.gather(dense, [1, 4, 1]))
    gradient = tape.gradient(total, tensor)
    assert isinstance(gradient, tf.Tensor), "all_gather refuses IndexedSlices"
    np.testing.assert_array_equal(gradient, np.array([0, 2, 0, 0, 1, 0])[:, None] * np.ones(3))
