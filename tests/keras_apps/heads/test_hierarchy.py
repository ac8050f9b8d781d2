import numpy as np
import pytest
import tensorflow as tf

from keras_apps.build import build
from keras_apps.heads.hierarchy import HierarchyHead
from keras_apps.losses.classify.cross_entropy import CrossEntropyLoss

# Two kinds of birds, a bat that is a mammal and flies, a dog; "bird" and "animal" are labels of their own.
NAMES = ("bunting", "robin", "bat", "dog", "bird", "animal")
PARENTS = {"bunting": "bird", "robin": "bird", "bird": ("flying", "animal"), "bat": ("flying", "mammal"),
           "dog": "mammal", "mammal": "animal", "flying": "animal"}
NODES = (*NAMES, "flying", "mammal")
LABELS = np.array([0, 4, 2, 5, -1, 3, 1])
EMBEDDINGS = np.random.default_rng(0).normal(size=[7, 3])
COUNTS = (5, 3, 2, 0, 4, 6)


def make(**words):
    """A head off its first weights, on the graph above."""
    head = HierarchyHead(**{"classes": 6, "dimension": 3, "names": NAMES, "parents": PARENTS, **words})
    generator = np.random.default_rng(1)
    for variable in head.trainable_variables:
        variable.assign(generator.normal(size=variable.shape))
    return head


def parents_of(node):
    given = PARENTS.get(node, ())
    return (given,) if isinstance(given, str) else given


def above(node):
    """The node and its ancestors."""
    return {node}.union(*(above(parent) for parent in parents_of(node)))


def children_of(node):
    return {other for other in NODES if node in parents_of(other)}


def sigmoids(head, x):
    weights, bias = (np.asarray(part, np.float64) for part in (head.weights, head.bias))
    return {node: 1 / (1 + np.exp(-(x @ weights[i] + bias[i]))) for i, node in enumerate(NODES)}


def naive_mask(label, stop_inside=False):
    mask, below = {label}, {node for node in NODES if label in above(node) - {node}}
    for ancestor in above(label) - {label}:
        mask |= {ancestor} | children_of(ancestor)
    mask |= {node for node in NODES if not parents_of(node)}
    return mask | children_of(label) if stop_inside else mask - below


def naive_loss(head, embeddings, labels, weights=None, stop_inside=False):
    values = []
    for x, label in zip(embeddings, labels):
        s, value = sigmoids(head, x), 0.0
        for i, node in enumerate(NODES if label >= 0 else ()):
            if node in naive_mask(NAMES[label], stop_inside):
                true = node in above(NAMES[label])
                value -= (1 if weights is None else weights[i]) * np.log(s[node] if true else 1 - s[node])
        values.append(value)
    return np.array(values)


def naive_beliefs(s):
    found = {}

    def belief(node):
        if node not in found:
            none = np.prod([1 - belief(parent) for parent in parents_of(node)])
            found[node] = s[node] * (1 - none if parents_of(node) else 1)
        return found[node]
    return [belief(node) for node in NODES]


def value_and_gradients(head, function, labels=None):
    embeddings = tf.constant(EMBEDDINGS)
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        value = function(embeddings) if labels is None else function(embeddings, labels, 0)
        total = tf.reduce_sum(value * np.random.default_rng(4).normal(size=value.shape))
    return value, tape.gradient(total, [embeddings, *head.trainable_variables])


@pytest.mark.parametrize("stop_inside", [False, True])
def test_the_loss_equals_the_loop(stop_inside):
    head = make(stop_inside=stop_inside)
    wanted = naive_loss(head, EMBEDDINGS, LABELS, stop_inside=stop_inside)
    np.testing.assert_allclose(head.loss(EMBEDDINGS, LABELS, 0), wanted, atol=1e-9, rtol=0)


def test_the_beliefs_equal_the_loop_over_parents():
    head = make()
    assert head.nodes == NODES
    for x, found in zip(EMBEDDINGS, np.exp(head.beliefs(EMBEDDINGS))):
        np.testing.assert_allclose(found, naive_beliefs(sigmoids(head, x)), atol=1e-9, rtol=0)


def test_the_answers_equal_the_loop_and_leaves_sum_to_one():
    head = make()
    answers = np.exp(head.logits(EMBEDDINGS))
    for x, found in zip(EMBEDDINGS, answers):
        leaves = np.array(naive_beliefs(sigmoids(head, x))[:4])
        np.testing.assert_allclose(found, [*leaves / leaves.sum(), 0, 0], atol=1e-9, rtol=0)
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_array_equal(head.logits(EMBEDDINGS)[:, 4:], np.full([7, 2], -1e4))
    np.testing.assert_array_equal(head.logits(EMBEDDINGS, training=True), head.logits(EMBEDDINGS))


def test_where_stopping_inside_is_an_answer_all_labels_sum_to_one():
    head = make(stop_inside=True)
    for x, found in zip(EMBEDDINGS, np.exp(head.logits(EMBEDDINGS))):
        s = sigmoids(head, x)
        wanted = [belief * np.prod([1 - s[child] for child in children_of(node)])
                  for node, belief in zip(NAMES, naive_beliefs(s))]
        np.testing.assert_allclose(found, np.array(wanted) / sum(wanted), atol=1e-9, rtol=0)


@pytest.mark.parametrize("stop_inside", [False, True])
def test_gradients_match_central_differences(stop_inside):
    head = make(stop_inside=stop_inside)
    for function, labels in ((head.loss, LABELS), (head.logits, None), (head.beliefs, None)):
        value, (exact, *slopes) = value_and_gradients(head, function, labels)
        shares, last = np.random.default_rng(4).normal(size=value.shape), () if labels is None else (labels, 0)
        way, step = np.random.default_rng(5).normal(size=EMBEDDINGS.shape), 1e-5
        rise = function(EMBEDDINGS + step * way, *last) - function(EMBEDDINGS - step * way, *last)
        np.testing.assert_allclose(np.sum(exact * way), np.sum(rise * shares) / (2 * step), atol=1e-6)
        assert all(np.isfinite(slope).all() and slope.numpy().any() for slope in slopes)


@pytest.mark.parametrize("stop_inside", [False, True])
@pytest.mark.parametrize("label", range(6))
def test_nodes_out_of_the_mask_have_no_gradient_and_all_others_have(label, stop_inside):
    head = make(stop_inside=stop_inside)
    _, (_, bias, weights) = value_and_gradients(head, head.loss, np.full(7, label))
    moved = {node for node, slope, row in zip(NODES, bias.numpy(), weights.numpy()) if slope != 0 and row.all()}
    still = {node for node, slope, row in zip(NODES, bias.numpy(), weights.numpy()) if slope == 0 and not row.any()}
    assert moved == naive_mask(NAMES[label], stop_inside) and still == set(NODES) - moved


def test_masks_by_hand():
    # A leaf: its line to the top and all siblings on the way.
    assert naive_mask("dog") == {"dog", "bat", "mammal", "animal", "bird", "flying"}
    # An imprecise label says nothing of what lies below it, but means none of it where it is an answer.
    assert naive_mask("animal") == {"animal"}
    assert naive_mask("animal", stop_inside=True) == {"animal", "bird", "mammal", "flying"}
    assert naive_mask("bird", stop_inside=True) - naive_mask("bird") == {"bunting", "robin"}


def test_what_may_be_meant_is_left_out_though_an_ancestor_has_it_as_a_child():
    names = ("shape", "square")     # a square is a shape; both are said to be figures
    head = HierarchyHead(2, 3, names=names, parents={"square": ("shape", "figure"), "shape": "figure"})
    _, (_, bias, _) = value_and_gradients(head, head.loss, np.zeros(7, int))
    assert head.nodes == ("shape", "square", "figure")
    assert bias.numpy()[1] == 0 and (bias.numpy()[[0, 2]] != 0).all()


def test_the_order_of_the_graph_and_of_the_names_plays_no_part():
    wanted = np.exp(make().logits(EMBEDDINGS))
    order = [5, 3, 0, 4, 2, 1]
    names = [NAMES[i] for i in order]
    head = make(names=names, parents=dict(reversed(PARENTS.items())))
    place = [NODES.index(node) for node in head.nodes]
    head.weights.assign(make().weights.numpy()[place])
    head.bias.assign(make().bias.numpy()[place])
    np.testing.assert_allclose(np.exp(head.logits(EMBEDDINGS)), wanted[:, order], atol=1e-12)
    labels = np.where(LABELS < 0, -1, np.argsort(order)[LABELS])
    np.testing.assert_allclose(head.loss(EMBEDDINGS, labels, 0), make().loss(EMBEDDINGS, LABELS, 0), atol=1e-12)


def test_without_a_hierarchy_it_is_one_sigmoid_a_class():
    for words in ({}, {"names": NAMES}, {"parents": {name: "thing" for name in map(str, range(6))}}):
        head = HierarchyHead(6, 3, **words)
        head.weights.assign(np.random.default_rng(1).normal(size=head.weights.shape))
        scores = EMBEDDINGS @ head.weights.numpy()[:6].T
        wanted = tf.nn.log_softmax(tf.math.log_sigmoid(scores))
        np.testing.assert_allclose(head.logits(EMBEDDINGS), wanted, atol=1e-9)
    bare = HierarchyHead(6, 3)
    assert bare.weights.shape == [6, 3] and bare.nodes == tuple("012345") and bare.local == ()
    np.testing.assert_allclose(bare.loss(EMBEDDINGS, LABELS, 0), 6 * np.log(2) * (LABELS >= 0), atol=1e-6)
    np.testing.assert_allclose(np.exp(bare.logits(EMBEDDINGS)), 1 / 6, atol=1e-7)


def test_all_weights_start_at_zero_whatever_the_seed():
    for seed in (0, 7):
        head = HierarchyHead(6, 3, seed, names=NAMES, parents=PARENTS)
        assert [variable.shape.as_list() for variable in head.trainable_variables] == [[8], [8, 3]]
        assert not any(variable.numpy().any() for variable in head.trainable_variables)


def naive_weights(kind):
    weights = []
    for node in NODES:
        seen = sum(count for name, count in zip(NAMES, COUNTS) if node in naive_mask(name))
        below = [other for other in NODES if node in above(other)]
        times = {"equalize": 1, "descendants": len(below), "leaves": sum(not children_of(one) for one in below)}[kind]
        weights.append(times / max(seen, 1))
    return np.array(weights) / np.mean(weights)


@pytest.mark.parametrize("kind", ["equalize", "descendants", "leaves"])
def test_weights_equal_the_loop(kind):
    head, weights = make(weights=kind, counts=COUNTS), naive_weights(kind)
    assert np.std(weights) > 0.1
    wanted = naive_loss(head, EMBEDDINGS, LABELS, weights.astype(np.float32))
    np.testing.assert_allclose(head.loss(EMBEDDINGS, LABELS, 0), wanted, atol=1e-6)
    np.testing.assert_array_equal(head.logits(EMBEDDINGS), make().logits(EMBEDDINGS))


def test_huge_scores_keep_answers_and_gradients_finite():
    for size in (1e2, 1e30):
        for stop_inside in (False, True):
            head = make(stop_inside=stop_inside)
            embeddings = tf.constant((size * EMBEDDINGS).astype(np.float32))
            with tf.GradientTape() as tape:
                tape.watch(embeddings)
                logits = head.logits(embeddings)
                value = head.loss(embeddings, LABELS, 0) + CrossEntropyLoss()(logits, np.maximum(LABELS, 0) % 4)
            assert np.isfinite(logits).all() and np.isfinite(value).all()
            assert np.isfinite(tape.gradient(value, embeddings)).all()
            assert stop_inside or (np.argmax(logits, axis=1) < 4).all(), "an imprecise label is never the answer"


def test_small_and_certain_parents_keep_their_digits():
    """Of two parents: P = 1 - (1 - p)^2 where p is all but 1, all but 0, or both."""
    head = HierarchyHead(2, 1, names=("child", "other"), parents={"child": ("left", "right")})
    for left, right, wanted in ((-60, -60, np.log(2) - 60), (-60, -90, -60), (60, 60, 0), (60, -60, 0),
                                (-200, 3, -np.log1p(np.exp(-3)))):
        head.bias.assign([100, 0, left, right])
        found = float(head.beliefs(np.zeros([1, 1]))[0, 0])
        assert found == pytest.approx(wanted, abs=1e-9)
        assert float(head.beliefs(np.zeros([1, 1], np.float32))[0, 0]) == pytest.approx(found, abs=1e-4)


def test_imprecise_labels_narrow_down_what_precise_ones_are_too_few_for():
    """Four classes of two kinds: the kind is learned from many imprecise labels, the rest from eight precise ones."""
    generator = np.random.default_rng(3)
    centres = np.array([[2.0, 1, 0], [2, -1, 0], [-2, 0, 1], [-2, 0, -1]])
    truth = np.arange(60) % 4
    embeddings = (centres[truth] + 0.05 * generator.normal(size=[60, 3])).astype(np.float32)
    labels = np.where(np.arange(60) < 52, 4 + truth // 2, truth)
    head = HierarchyHead(6, 3, names=("a", "b", "c", "d", "ab", "cd"),
                         parents={"a": "ab", "b": "ab", "c": "cd", "d": "cd"})
    first = np.mean(head.loss(embeddings, labels, 0))
    for _ in range(15):
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(head.loss(embeddings, labels, 0))
        for variable, slope in zip(head.trainable_variables, tape.gradient(value, head.trainable_variables)):
            variable.assign_sub(2 * slope)
    assert value < 0.5 * first
    answers = np.argmax(head.logits(embeddings), axis=1)
    assert np.mean(answers // 2 == truth // 2) == 1 and np.mean(answers == truth) > 0.9


def test_it_goes_through_a_checkpoint(tmp_path):
    head = make()
    path, other = tf.train.Checkpoint(head=head).write(str(tmp_path / "head")), make()
    other.weights.assign(0 * other.weights)
    tf.train.Checkpoint(head=other).read(path).assert_consumed()
    np.testing.assert_array_equal(other.logits(EMBEDDINGS), head.logits(EMBEDDINGS))


def test_a_config_names_the_parents_and_the_caller_the_labels():
    text = "hierarchy(parents={'bunting': 'bird', 'robin': ('bird',)}, weights='equalize')"
    head = build("heads", text, classes=6, dimension=3, seed=1, names=NAMES, counts=COUNTS)
    assert head.nodes == NAMES
    np.testing.assert_array_equal(np.flatnonzero(head.logits(EMBEDDINGS)[0] == -1e4), [4])


@pytest.mark.parametrize("words, told", [
    ({"parents": {"bunting": "bird", "bird": "flying", "flying": "bunting"}},
     "^`parents` has a cycle, bunting below bird below flying below bunting; leave one of these out.$"),
    ({"parents": {"dog": "dog"}}, "cycle, dog below dog;"),
    ({"parents": {"bunting": "brid", "birds": "animal"}}, "has the child 'birds', .*; did you mean bird"),
    ({"parents": "bird"}, "^`parents` is 'bird' but must be a dictionary; write {'child': 'parent'}.$"),
    ({"names": NAMES[:5]}, "^`names` holds 5 names, 5 of them different, but must hold one for each of the 6 classes"),
    ({"names": ("dog",) * 6}, "holds 6 names, 1 of them different"),
    ({"weights": "inverse"}, "^`weights` is 'inverse' but must be one of uniform, equalize, descendants, leaves.$"),
    ({"weights": "equalize"}, "^`weights` is 'equalize' but `counts` is None; give .* each of the 6 labels or use"),
    ({"weights": "leaves", "counts": (1, 2)}, r"`counts` is \[1, 2\]; "),
    ({"weights": "leaves", "counts": (1, 2, 3, 4, 5, -6)}, "-6"),
])
def test_wrong_settings_are_refused(words, told):
    with pytest.raises(ValueError, match=told):
        make(**words)
