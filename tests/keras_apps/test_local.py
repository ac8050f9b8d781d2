"""Shares of a matrix and their optimizers; three shares are made on one device by a stand-in for the strategy."""

import types

import numpy as np
import pytest
import tensorflow as tf

from keras_apps import local
from keras_apps.build import build
from keras_apps.local import LocalOptimizer, LocalVariable

ROWS = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)


@pytest.fixture
def shared(monkeypatch):
    """(initial, replicas, name) -> a LocalVariable of so many shares."""
    def make(initial, replicas, name="local"):
        strategy = types.SimpleNamespace(num_replicas_in_sync=replicas,
                                         extended=types.SimpleNamespace(worker_devices=("CPU:0",) * replicas))
        with monkeypatch.context() as patch:
            patch.setattr(tf.distribute, "get_strategy", lambda: strategy)
            return LocalVariable(initial, name)
    return make


def optimizer(text="adam(rate=0.1)"):
    return build("optimizers", text, schedule=lambda rate: rate)


def apply(trained, gradients, monkeypatch):
    """One update by the rows' gradients, as each replica in turn would do it."""
    variable, = trained.local
    for replica, part in enumerate(variable.own(gradients)):
        monkeypatch.setattr(local, "replica_id", lambda replica=replica: replica)
        trained.apply([tf.constant(part)])


@pytest.mark.parametrize("replicas, share, padding", [(1, 7, 0), (2, 4, 1), (3, 3, 2), (7, 1, 0), (9, 1, 2)])
def test_rows_are_dealt_in_equal_shares_and_come_back(shared, replicas, share, padding):
    variable = shared(ROWS, replicas)
    assert [shard.shape.as_list() for shard in variable.shards] == [[share, 2]] * replicas
    stacked = np.concatenate([shard.numpy() for shard in variable.shards])
    assert len(stacked) == 7 + padding
    np.testing.assert_array_equal(stacked, np.concatenate([ROWS, np.zeros((padding, 2))]))
    np.testing.assert_array_equal(variable.gathered(), ROWS)
    variable.scatter(2 * ROWS)
    np.testing.assert_array_equal(variable.gathered(), 2 * ROWS)


def test_here_is_this_replicas_shard_and_its_first_row(shared, monkeypatch):
    variable = shared(ROWS, 3)
    monkeypatch.setattr(local, "replica_id", lambda: 2)
    shard, first = variable.here()
    assert shard is variable.shards[2] and first == 6
    monkeypatch.undo()
    shard, first = tf.distribute.get_strategy().run(shared(ROWS, 1).here)
    assert shard.shape == [7, 2] and first == 0


def test_slots_have_the_shape_of_their_shard(shared):
    trained = LocalOptimizer(optimizer, [shared(ROWS, 3), shared(ROWS[:, :1], 3)])
    slots = [[variable.shape.as_list() for variable in one.variables if variable.shape.rank]
             for optimizers in trained.optimizers for one in optimizers]
    assert slots == [[[3, 2]] * 2] * 3 + [[[3, 1]] * 2] * 3


@pytest.mark.parametrize("text", ["adam(rate=0.1)", "adam(rate=0.1, decay=0.05)", "sgd(rate=0.1, momentum=0.9)"])
def test_three_shares_move_as_the_whole_matrix_does(shared, monkeypatch, text):
    variable, whole, plain = shared(ROWS, 3), tf.Variable(ROWS), optimizer(text)
    trained = LocalOptimizer(lambda: optimizer(text), [variable])
    random = np.random.default_rng(1)
    for _ in range(3):
        gradients = random.normal(size=ROWS.shape).astype(np.float32)
        apply(trained, gradients, monkeypatch)
        plain.apply_gradients([(tf.constant(gradients), whole)])
    np.testing.assert_allclose(variable.gathered(), whole.numpy(), atol=1e-6)
    assert np.abs(variable.gathered() - ROWS).max() > 0.1


def test_a_gradient_of_none_leaves_shard_and_slots_untouched(shared):
    variable = shared(ROWS, 1)
    trained = LocalOptimizer(optimizer, [variable])
    before = trained.serialize()
    tf.distribute.get_strategy().run(lambda: trained.apply([None]))
    assert trained.serialize() == before


@pytest.mark.parametrize("name, kept", [("classes", 0.75), ("class_bias", 1.0)])
def test_decay_leaves_out_what_the_optimizer_excludes(shared, name, kept):
    variable = shared(ROWS, 1, name)
    trained = LocalOptimizer(lambda: optimizer("sgd(rate=0.5, decay=0.5)"), [variable])
    tf.distribute.get_strategy().run(lambda: trained.apply([tf.zeros([7, 2])]))
    np.testing.assert_allclose(variable.gathered(), kept * ROWS, rtol=1e-6)


@pytest.mark.parametrize("other", [1, 2, 5])
def test_averages_of_shards_come_back_on_another_number_of_replicas(shared, tmp_path, other):
    first = LocalOptimizer(optimizer, [shared(ROWS, 3)], [shared(2 * ROWS, 3)])
    path = tf.train.Checkpoint(local=first).save(str(tmp_path / "ckpt"))
    average = shared(np.zeros_like(ROWS), other)
    second = LocalOptimizer(optimizer, [shared(np.zeros_like(ROWS), other)], [average])
    tf.train.Checkpoint(local=second).restore(path).assert_existing_objects_matched()
    np.testing.assert_array_equal(average.gathered(), 2 * ROWS)


@pytest.mark.parametrize("other", [1, 2, 3, 5])
def test_another_number_of_replicas_goes_on_from_a_checkpoint(shared, monkeypatch, tmp_path, other):
    random = np.random.default_rng(2)
    gradients = [random.normal(size=ROWS.shape).astype(np.float32) for _ in range(4)]
    first = LocalOptimizer(optimizer, [shared(ROWS, 3)])
    for each in gradients[:2]:
        apply(first, each, monkeypatch)
    path = tf.train.Checkpoint(local=first).save(str(tmp_path / "ckpt"))

    second = LocalOptimizer(optimizer, [shared(np.zeros_like(ROWS), other)])
    tf.train.Checkpoint(local=second).restore(path).assert_existing_objects_matched()
    np.testing.assert_array_equal(second.local[0].gathered(), first.local[0].gathered())
    assert [int(one.iterations) for one in second.optimizers[0]] == [2] * other
    for each in gradients[2:]:
        apply(first, each, monkeypatch)
        apply(second, each, monkeypatch)
    # The slots, too: Adam from fresh moments would take other steps.
    np.testing.assert_allclose(second.local[0].gathered(), first.local[0].gathered(), atol=1e-6)
