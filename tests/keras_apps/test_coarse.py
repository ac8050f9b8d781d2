import itertools

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.coarse import coarse_groups, joint

RANDOM = np.random.default_rng(0)


def blocks(groups, inside=5.0, across=0.0):
    """A confusion by true groups [K]: `inside` a group, `across` them, much on the diagonal."""
    groups = np.asarray(groups)
    return np.where(groups[:, None] == groups[None], inside, across) + 90 * np.eye(len(groups))


def same_partition(a, b):
    return (np.equal.outer(a, a) == np.equal.outer(b, b)).all()


def naive_groups(confusion, groups):
    """The rule as it is told, by loops over single classes."""
    k = len(confusion)
    s = [[0.0 if i == j else (confusion[i][j] + confusion[j][i]) / 2 for j in range(k)] for i in range(k)]
    lonely = [-sum(row) for row in s]
    pairs = itertools.combinations(range(k), 2)
    seeds = list(min(pairs, key=lambda p: (s[p[0]][p[1]], lonely[p[0]] + lonely[p[1]], p)))
    while len(seeds) < groups:
        left = [i for i in range(k) if i not in seeds]
        seeds.append(min(left, key=lambda i: (sum(s[i][j] for j in seeds), lonely[i])))
    members = [[seed] for seed in seeds]
    cap = -(-11 * k // (10 * groups))
    while sum(map(len, members)) < k:
        free = [i for i in range(k) if not any(i in group for group in members)]
        i, group = max(((i, group) for i in free for group in members if len(group) < cap),
                       key=lambda pair: sum(s[pair[0]][j] for j in pair[1]) / len(pair[1]))
        group.append(i)
    members.sort(key=min)
    return [next(g for g, group in enumerate(members) if i in group) for i in range(k)]


@pytest.mark.parametrize("classes, groups", [(6, 2), (9, 3), (10, 4), (12, 5), (20, 3), (8, 8)])
def test_equals_the_rule_class_by_class(classes, groups):
    confusion = np.random.default_rng(classes).random([classes, classes])       # no ties
    np.testing.assert_array_equal(coarse_groups(confusion, groups), naive_groups(confusion, groups))


@pytest.mark.parametrize("truth", [[0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2, 0, 1, 2], [0, 1, 1, 0, 2, 3, 2, 3],
                                   RANDOM.permutation(np.repeat(range(5), 4))])
def test_classes_that_are_confused_come_together(truth):
    count = max(truth) + 1
    for across in (0.0, 1.0):
        found = coarse_groups(blocks(truth, across=across), count)
        assert same_partition(found, truth) and found.dtype.kind == "i"
    noisy = blocks(truth) + RANDOM.random([len(truth)] * 2)
    assert same_partition(coarse_groups(noisy, count), truth)


@pytest.mark.parametrize("classes, groups", [(7, 3), (10, 2), (20, 6), (33, 10), (100, 20), (100, 33), (5, 5), (10, 9)])
def test_groups_are_balanced_and_none_is_empty(classes, groups):
    for confusion in (np.zeros([classes] * 2), np.ones([classes] * 2), RANDOM.poisson(0.2, [classes] * 2),
                      blocks(np.zeros(classes, int))):
        sizes = np.bincount(coarse_groups(confusion, groups), minlength=groups)
        assert len(sizes) == groups and sizes.min() >= 1
        assert sizes.max() <= np.ceil(round(1.1 * classes / groups, 9))


def test_direction_and_diagonal_play_no_part_nor_does_scale():
    confusion = RANDOM.random([9, 9])
    wanted = coarse_groups(confusion, 3)
    for other in (confusion.T, confusion + np.diag(100 * RANDOM.random(9)), 4 * confusion):
        np.testing.assert_array_equal(coarse_groups(other, 3), wanted)
    kept = confusion.copy()
    coarse_groups(confusion, 3)
    np.testing.assert_array_equal(confusion, kept, "what is given stays as it is")


def test_renaming_classes_renames_the_groups_alike():
    confusion, order = RANDOM.random([12, 12]), RANDOM.permutation(12)
    found = coarse_groups(confusion[order][:, order], 4)
    assert same_partition(found, coarse_groups(confusion, 4)[order])
    assert list(dict.fromkeys(found.tolist())) == [0, 1, 2, 3], "numbered by their first class"


def test_a_group_that_is_full_takes_no_more():
    # All but the last two are confused: at most ceil(1.1 * 6 / 3) = 3 of them stay together.
    confusion = blocks([0, 0, 0, 0, 1, 2])
    found = coarse_groups(confusion, 3)
    assert np.bincount(found).max() <= 3
    assert coarse_groups(confusion.tolist(), 3).tolist() == found.tolist(), "the same each time, and of lists"


@pytest.mark.parametrize("confusion, groups, told", [
    (np.ones([4, 4]), 1, "^`groups` is 1 but must be from 2 to the 4 classes; use 2.$"),
    (np.ones([4, 4]), 5, "`groups` is 5 "), (np.ones([4, 3]), 2, r"`confusion` has shape \(4, 3\) but"),
    (-np.ones([4, 4]), 2, "at least 0"), (np.full([4, 4], np.nan), 2, "at least 0"), (np.ones(4), 2, r"\(4,\)")])
def test_groups_of_nothing_are_refused(confusion, groups, told):
    with pytest.raises(ValueError, match=told):
        coarse_groups(confusion, groups)


def logs(rows, columns, seed):
    return np.log(np.random.default_rng(seed).dirichlet(np.ones(columns), size=rows))


FINE, COARSE = logs(6, 5, 0), [(logs(6, 2, 1), np.array([0, 0, 1, 1, 1])), (logs(6, 3, 2), [2, 0, 1, 1, 0])]


def naive_joint(fine, coarse, exponent):
    rows = []
    for n in range(len(fine)):
        p = [np.exp(fine[n, i]) * np.prod([np.exp(logs[n, groups[i]]) ** exponent for logs, groups in coarse])
             for i in range(fine.shape[1])]
        rows.append(np.log(np.array(p) / sum(p)))
    return np.array(rows)


@pytest.mark.parametrize("exponent", [0.3, 1, 2.5])
def test_the_joint_answer_equals_the_loop(exponent):
    for coarse in ([], COARSE[:1], COARSE):
        found = joint(FINE, coarse, exponent)
        np.testing.assert_allclose(found, naive_joint(FINE, coarse, exponent), atol=1e-9, rtol=0)
        np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, atol=1e-12)


def test_without_trust_it_is_exactly_the_softmax_of_the_classes():
    impossible = [(np.full([6, 2], -np.inf), COARSE[0][1]), COARSE[1]]
    for fine in (FINE, 3 * FINE + 7, FINE.astype(np.float32)):
        for coarse in (COARSE, impossible):
            np.testing.assert_array_equal(joint(fine, coarse, 0), tf.nn.log_softmax(fine))


def test_logits_do_as_well_as_log_probabilities():
    shifts = np.arange(6)[:, None]
    found = joint(FINE + shifts, [(logs - 2 * shifts, groups) for logs, groups in COARSE], 0.3)
    np.testing.assert_allclose(found, joint(FINE, COARSE, 0.3), atol=1e-12)


def test_groups_decide_between_classes_that_are_as_likely():
    fine = np.log([[0.4, 0.1, 0.4, 0.1]])
    found = np.exp(joint(fine, [(np.log([[0.2, 0.8]]), [0, 0, 1, 1])], 0.3))[0]
    assert found.argmax() == 2
    assert found[0] / found[1] == pytest.approx(4) and found[2] / found[0] == pytest.approx(4**0.3)


def test_it_runs_in_a_graph_and_in_float32_at_least():
    groups = tf.Variable(COARSE[0][1])      # not known before training
    graph = tf.function(lambda fine, coarse: joint(fine, [(coarse, groups)], 0.3), input_signature=[
        tf.TensorSpec([None, 5], tf.float32), tf.TensorSpec([None, 2], tf.float32)])
    np.testing.assert_allclose(graph(FINE, COARSE[0][0]), naive_joint(FINE, COARSE[:1], 0.3), atol=1e-5)
    half = joint(tf.cast(FINE, tf.float16), [(tf.cast(COARSE[0][0], tf.float16), COARSE[0][1])], 0.3)
    assert half.dtype == tf.float32
    assert np.isfinite(joint(1e30 * FINE.astype(np.float32), COARSE, 0.3)).all()


@pytest.mark.parametrize("coarse, exponent, told", [
    (COARSE, -0.1, "^`exponent` is -0.1 but must be a finite number of at least 0; use 0.3.$"),
    (COARSE, float("nan"), "`exponent` is nan "), ([(COARSE[0][0], [0, 1, 0])], 0.3, r"but its groups \(3,\); give")])
def test_a_wrong_joint_is_refused(coarse, exponent, told):
    with pytest.raises(ValueError, match=told):
        joint(FINE, coarse, exponent)
