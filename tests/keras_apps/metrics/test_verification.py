import itertools
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from sklearn import metrics as reference

from keras_apps.metrics import verification


def drawn(count=400, share=0.2, seed=0, digits=None):
    generator = np.random.default_rng(seed)
    same = generator.random(count) < share
    scores = generator.normal(size=count) + 1.5 * same
    return (scores if digits is None else np.round(scores, digits)), same


CASES = [
    drawn(), drawn(seed=1, digits=1), drawn(seed=2, digits=0), drawn(30, 0.5, 3, 1), drawn(200, 0.97, 4, 1),
]


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_pair_scores_equal_the_loop(monkeypatch):
    generator = np.random.default_rng(0)
    embeddings, identities = generator.normal(size=[23, 4]), generator.integers(0, 5, 23)
    wanted = [(cosine(embeddings[i], embeddings[j]), identities[i] == identities[j])
              for i, j in itertools.combinations(range(23), 2)]
    for block in (verification._BLOCK, 50):
        monkeypatch.setattr(verification, "_BLOCK", block)
        scores, same = verification.pair_scores(embeddings, identities)
        assert scores.dtype == np.float32 and same.dtype == bool
        np.testing.assert_allclose(scores, [score for score, _ in wanted], atol=1e-6)
        np.testing.assert_array_equal(same, [truth for _, truth in wanted])


@pytest.mark.parametrize("most, block", [(None, 1 << 22), (None, 50), (150, 1 << 22), (150, 50)])
def test_the_first_of_a_pair_may_ask_by_a_row_of_its_own(most, block, monkeypatch):
    monkeypatch.setattr(verification, "_BLOCK", block)
    generator = np.random.default_rng(0)
    offered, asked = generator.normal(size=[2, 23, 4])
    identities = np.append(np.sort(generator.integers(0, 5, 22)), -1)       # sorted: a sample keeps the order too
    scores, same = verification.pair_scores(offered, identities, most, asked=asked)
    wanted = {round(cosine(asked[i], offered[j]), 5): identities[i] == identities[j]
              for i, j in itertools.combinations(range(22), 2)}
    assert len(wanted) == 231 and len(scores) == (most or 231)
    assert [wanted[round(float(score), 5)] for score in scores] == same.tolist()
    with pytest.raises(ValueError, match="`asked` has shape"):
        verification.pair_scores(offered, identities, asked=asked[:, :3])


def test_pair_scores_take_names_and_leave_unknown_rows_out():
    embeddings = np.eye(4)[[0, 0, 1, 2]]
    scores, same = verification.pair_scores(embeddings, ["a", "a", "b", "b"])
    np.testing.assert_array_equal(same, [True, False, False, False, False, True])
    scores, same = verification.pair_scores(embeddings, [3, -1, 3, 4])
    np.testing.assert_array_equal(same, [True, False, False])
    np.testing.assert_array_equal(scores, [0, 0, 0])


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_pair_scores_at_any_size(size):
    embeddings = np.array([[3, 4], [4, 3], [0, 0]], np.float32) * np.float32(size)
    scores, _ = verification.pair_scores(embeddings, [0, 0, 1])
    np.testing.assert_allclose(scores, [0.96, 0, 0], atol=1e-6)


def test_sampled_pairs_are_real_different_and_keep_the_positives(monkeypatch):
    monkeypatch.setattr(verification, "_BLOCK", 64)
    generator = np.random.default_rng(1)
    embeddings, identities = generator.normal(size=[40, 6]), generator.integers(0, 12, 40)
    all_scores, all_same = verification.pair_scores(embeddings, identities)
    assert np.diff(np.sort(all_scores)).min() > 1e-6  # so a score names its pair
    positives = np.count_nonzero(all_same)
    for most in (2 * positives, 300, 779):
        scores, same = verification.pair_scores(embeddings, identities, most, seed=5)
        pairs = np.abs(scores[:, None] - all_scores).argmin(axis=1)
        np.testing.assert_allclose(scores, all_scores[pairs], atol=3e-7)
        np.testing.assert_array_equal(same, all_same[pairs])
        assert len(set(pairs)) == most
        assert np.count_nonzero(same) == positives
    few, same = verification.pair_scores(embeddings, identities, 20, seed=5)
    assert np.count_nonzero(same) == 10
    again, _ = verification.pair_scores(embeddings, identities, 20, seed=5)
    other, _ = verification.pair_scores(embeddings, identities, 20, seed=6)
    np.testing.assert_array_equal(few, again)
    assert (few != other).any()
    np.testing.assert_array_equal(verification.pair_scores(embeddings, identities, 780)[0], all_scores)


def gathered(embeddings, identities, most, seed):
    """The sampled pairs one by one, in their order."""
    order = np.argsort(identities, kind="stable")
    embeddings, identities = embeddings[order], identities[order]
    i, j = np.triu_indices(len(identities), 1)
    same = identities[i] == identities[j]
    positives, negatives = np.flatnonzero(same), np.flatnonzero(~same)
    kept = min(len(positives), max(most // 2, most - len(negatives)))
    generator = np.random.default_rng(seed)
    pairs = np.concatenate([kind[verification._draw(generator, len(kind), wanted)]
                            for kind, wanted in ((positives, kept), (negatives, most - kept))])
    return np.array([cosine(embeddings[i[pair]], embeddings[j[pair]]) for pair in pairs]), same[pairs]


@pytest.mark.parametrize("block", [8, 1 << 10, 1 << 22])
@pytest.mark.parametrize("count, classes, most", [(60, 1, 1000), (60, 5, 40), (60, 5, 1500), (60, 30, 900)])
def test_sampled_pairs_equal_the_loop(count, classes, most, block, monkeypatch):
    monkeypatch.setattr(verification, "_BLOCK", block)
    generator = np.random.default_rng(3)
    embeddings, identities = generator.normal(size=[count, 7]), generator.integers(0, classes, count)
    scores, same = verification.pair_scores(embeddings, identities, most, seed=4)
    wanted, truth = gathered(embeddings, identities, most, 4)
    np.testing.assert_allclose(scores, wanted, atol=1e-6)
    np.testing.assert_array_equal(same, truth)


def test_dense_samples_are_picked_from_products(monkeypatch):
    taken = []
    einsum = np.einsum

    def spy(pattern, *sides):
        taken.append(len(sides[0]))
        return einsum(pattern, *sides)
    generator = np.random.default_rng(5)
    embeddings, identities = generator.normal(size=[300, 2000]), np.arange(300) // 3
    monkeypatch.setattr(verification, "unit_rows", lambda rows, name: rows.astype(np.float32))
    monkeypatch.setattr(verification.np, "einsum", spy)
    verification.pair_scores(embeddings, identities, 20_000)
    assert sum(taken) <= 300            # of pairs of one identity, which lie too far apart, at most
    taken.clear()
    verification.pair_scores(embeddings, identities, 600)
    assert sum(taken) >= 300 and max(taken) * 2 * 2000 <= verification._BLOCK


def test_sampling_is_uniform():
    generator = np.random.default_rng(2)
    for wanted in (3, 9):  # below and above half of the population
        counts = np.zeros(12)
        for _ in range(3000):
            chosen = verification._draw(generator, 12, wanted)
            assert len(set(chosen)) == wanted
            counts[chosen] += 1
        expected = 3000 * wanted / 12
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


@pytest.mark.parametrize("scores, same", CASES)
def test_roc_and_auc_equal_scikit_learn(scores, same):
    far, tar, thresholds = verification.roc(scores, same)
    wanted = reference.roc_curve(same, scores, drop_intermediate=False)
    for got, part in zip((far, tar, thresholds), wanted):
        np.testing.assert_allclose(got, part, atol=1e-12)
    assert verification.auc(scores, same) == pytest.approx(reference.roc_auc_score(same, scores), abs=1e-12)


@pytest.mark.parametrize("scores, same", CASES)
def test_auc_equals_the_loop(scores, same):
    wins = [(p > n) + 0.5 * (p == n) for p in scores[same] for n in scores[~same]]
    np.testing.assert_allclose(verification.auc(scores, same), np.mean(wins), atol=1e-12)


@pytest.mark.parametrize("scores, same", CASES)
def test_eer_is_the_crossing_on_the_drawn_roc(scores, same):
    value = verification.eer(scores, same)
    far, tar, _ = verification.roc(scores, same)
    along = np.linspace(0, len(far) - 1, 200_001)
    x, y = (np.interp(along, np.arange(len(far)), rate) for rate in (far, tar))
    nearest = np.argmin(np.abs(x - (1 - y)))
    assert value == pytest.approx(x[nearest], abs=2e-4)
    assert 0 <= value <= 1


def test_figures_by_hand():
    #        t: .9 .8 .7 .6 .5 .4       same: T T F T F F
    scores, same = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]), np.array([1, 1, 0, 1, 0, 0], bool)
    assert verification.auc(scores, same) == pytest.approx(8 / 9)
    assert verification.eer(scores, same) == pytest.approx(1 / 3)
    assert verification.tar_at_far(scores, same, 0) == pytest.approx(2 / 3)
    assert verification.tar_at_far(scores, same, 1 / 3) == 1
    assert verification.threshold_at_far(scores, same, 0) == pytest.approx(0.75)
    assert verification.threshold_at_far(scores, same, 1 / 3) == pytest.approx(0.55)
    # all equal: one straight line from (0, 0) to (1, 1)
    assert verification.eer(np.zeros(5), [1, 0, 0, 1, 0]) == 0.5
    assert verification.auc(np.zeros(5), [1, 0, 0, 1, 0]) == 0.5
    # From (FAR 1/4, FRR 1/2) to (2/4, 0) along the tie at 2: they meet a third of the way, at 1/3.
    assert verification.eer([4, 3, 2, 2, 0, 0], [1, 0, 1, 0, 0, 0]) == pytest.approx(1 / 3)


def reference_crossing(scores, same):
    far, tar, _ = reference.roc_curve(same, scores, drop_intermediate=False)
    for k in range(1, len(far)):
        before, after = 1 - tar[k - 1] - far[k - 1], 1 - tar[k] - far[k]
        if before >= 0 >= after:
            share = before / (before - after)
            return far[k - 1] + share * (far[k] - far[k - 1])


@pytest.mark.parametrize("scores, same", CASES)
def test_eer_equals_the_walk_along_the_roc(scores, same):
    assert verification.eer(scores, same) == pytest.approx(reference_crossing(scores, same), abs=1e-12)


@pytest.mark.parametrize("scores, same", CASES)
@pytest.mark.parametrize("far", [0, 1e-3, 1e-2, 0.1, 0.29, 0.5, 1])
def test_tar_at_far_is_the_best_allowed_point_of_the_roc(scores, same, far):
    fars, tars, _ = reference.roc_curve(same, scores, drop_intermediate=False)
    value = verification.tar_at_far(scores, same, far)
    assert value == pytest.approx(tars[fars <= far + 1e-12].max(), abs=1e-12)
    for dtype in (np.float64, np.float32):
        rounded = scores.astype(dtype)
        threshold = verification.threshold_at_far(rounded, same, far)
        assert dtype(threshold) == threshold
        accepted = rounded >= threshold
        assert accepted[~same].mean() <= far + 1e-12
        reached = tars >= verification.tar_at_far(rounded, same, far) - 1e-12
        if dtype is np.float64:
            assert accepted[~same].mean() == pytest.approx(fars[reached].min(), abs=1e-12)
        assert accepted[same].mean() == pytest.approx(verification.tar_at_far(rounded, same, far))


def test_the_share_allowed_is_exact():
    scores, same = np.r_[np.arange(100), 70.5, 71.5], np.arange(102) >= 100
    # 0.29 of 100 different pairs are 29, the scores 71 to 99: 70.5 stays above the highest refused score, 70.
    assert verification.tar_at_far(scores, same, 0.29) == 1
    assert verification.tar_at_far(scores, same, 0.28) == 0.5


def test_the_threshold_lies_in_the_gap_where_the_kinds_are_far_apart():
    scores = np.r_[np.linspace(-0.9, -0.1, 300), np.linspace(0.7, 0.9, 30)]
    for far in (0, 0.01, 0.5, 1):
        assert verification.threshold_at_far(scores, scores > 0, far) == pytest.approx(0.3)
    # Of two same pairs below a different one neither may be accepted, and so the different ones above are not either.
    assert verification.threshold_at_far([0.1, 0.2, 0.8, 0.9, 0.9], [1, 1, 0, 0, 0], 0.7) > 0.9


def test_threshold_at_the_top_and_between_neighbouring_floats():
    assert verification.tar_at_far([1.0, 2.0, 2.0], [True, False, False], 0.5) == 0
    threshold = verification.threshold_at_far([1.0, 2.0, 2.0], [True, False, False], 0.5)
    assert 2 < threshold < 2.001
    low = np.float32(0.5)
    high = np.nextafter(low, np.float32(1))
    threshold = verification.threshold_at_far(np.array([high, low]), [True, False], 0)
    assert threshold == high


def naive_accuracy(positives, negatives, folds, seed):
    generator = np.random.default_rng(seed)
    parts = [np.array_split(generator.permutation(np.sort(side)), folds) for side in (positives, negatives)]
    accepted_right = refused_right = 0
    for fold in range(folds):
        train = [np.concatenate(side[:fold] + side[fold + 1 :]) for side in parts]
        levels = np.unique(np.concatenate(train))
        best = (-1, None)
        for at in range(len(levels) + 1):
            accepted = levels[at] if at < len(levels) else np.inf
            correct = (Fraction(int(np.sum(train[0] >= accepted)), len(train[0]))
                       + Fraction(int(np.sum(train[1] < accepted)), len(train[1])))
            if correct >= best[0]:
                middle = accepted if at in (0, len(levels)) else (accepted + levels[at - 1]) / 2
                best = (correct, middle)
        accepted_right += np.sum(parts[0][fold] >= best[1])
        refused_right += np.sum(parts[1][fold] < best[1])
    return (accepted_right / len(positives) + refused_right / len(negatives)) / 2


@pytest.mark.parametrize("scores, same", CASES)
@pytest.mark.parametrize("folds, seed", [(10, 0), (3, 1)])
def test_accuracy_equals_the_loop(scores, same, folds, seed):
    value = verification.accuracy_10_fold(scores, same, folds, seed)
    assert value == pytest.approx(naive_accuracy(scores[same], scores[~same], folds, seed), abs=1e-12)


def test_refusing_everything_has_half_of_the_accuracy():
    generator = np.random.default_rng(7)
    same = np.arange(20_000) < 20  # of 1,000 pairs one is the same
    chance = verification.accuracy_10_fold(generator.normal(size=20_000), same)
    assert chance == pytest.approx(0.5, abs=0.15)
    assert verification.accuracy_10_fold(np.zeros(20_000), same) == 0.5
    assert verification.accuracy_10_fold(generator.normal(size=20_000) + 4 * same, same) > 0.9
    # 3/4 of the rare and 9/10 of the common pairs lie on their side, though most pairs above are common ones.
    scores, rare = np.repeat([1.0, 0.0, 0.0, 1.0], [15, 5, 900, 100]), np.arange(1020) < 20
    assert verification.accuracy_10_fold(scores, rare) == pytest.approx(0.825)
    assert verification.accuracy_10_fold(-scores, ~rare) == pytest.approx(0.825)


def test_accuracy_of_separable_and_of_few_pairs():
    scores = np.r_[np.linspace(0.8, 1, 20), np.linspace(0, 0.2, 20)]
    assert verification.accuracy_10_fold(scores, np.arange(40) < 20) == 1
    # In the fold of a lone same pair nothing is known of its kind and everything is refused.
    assert verification.accuracy_10_fold([0.9, 0.1, 0.3], [True, False, False]) == 0.5


def test_calibration_is_logistic_at_equal_priors():
    generator = np.random.default_rng(0)
    # N(1, 1) against N(-1, 1): the log odds at equal priors are 2 x, whatever the number of pairs.
    scores = np.r_[generator.normal(1, 1, 4000), generator.normal(-1, 1, 70_000)]
    found = verification.calibrate(scores, np.arange(74_000) < 4000)
    assert found["scale"] == pytest.approx(2, abs=0.1) and found["bias"] == pytest.approx(0, abs=0.1)
    separable = verification.calibrate([0.9, 0.8, 0.1, 0.2], [1, 1, 0, 0])
    assert 0 < separable["scale"] < 1e3
    assert -separable["bias"] / separable["scale"] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("scores, same", CASES)
def test_all_metrics_are_the_single_ones_in_any_order(scores, same):
    order = np.random.default_rng(9).permutation(len(scores))
    shuffled = scores[order], same[order]
    for found in (verification.all_metrics(scores, same), verification.all_metrics(*shuffled)):
        assert found == {
            "auc": pytest.approx(verification.auc(scores, same)),
            "eer": pytest.approx(verification.eer(scores, same)),
            "tar_at_far_1e-2": pytest.approx(verification.tar_at_far(scores, same, 1e-2)),
            "tar_at_far_1e-3": pytest.approx(verification.tar_at_far(scores, same, 1e-3)),
            "accuracy_10_fold": pytest.approx(verification.accuracy_10_fold(scores, same)),
        }
        assert all(type(value) is float for value in found.values())


def test_better_scores_have_better_figures():
    scores, same = CASES[0]
    worse, better = verification.all_metrics(scores, same), verification.all_metrics(scores + same, same)
    assert better["eer"] < worse["eer"]
    assert all(better[key] > worse[key] for key in worse if key not in ("eer", "tar_at_far_1e-3"))


def test_arguments_stay_as_they_are():
    scores, same = np.array([0.3, 0.1, 0.2]), np.array([True, False, False])
    verification.all_metrics(scores, same)
    np.testing.assert_array_equal(scores, [0.3, 0.1, 0.2])
    embeddings = np.array([[3.0, 4.0], [1.0, 0.0]], np.float32)
    verification.pair_scores(embeddings, [0, 1])
    np.testing.assert_array_equal(embeddings, [[3, 4], [1, 0]])


@pytest.mark.parametrize("call, told", [
    (lambda: verification.auc([0.1, np.nan], [1, 0]), "1 NaN of 2"),
    (lambda: verification.eer([0.1, 0.2], [0, 0]), "has no True"),
    (lambda: verification.roc([0.1, 0.2], [1, 1]), "has no False"),
    (lambda: verification.auc([0.1, 0.2], [1, 0, 1]), r"shape \(2,\)"),
    (lambda: verification.tar_at_far([0.1, 0.2], [1, 0], 1.5), "`far` is 1.5"),
    (lambda: verification.accuracy_10_fold([0.1, 0.2], [1, 0], folds=1), "`folds` is 1"),
    (lambda: verification.pair_scores(np.ones([3, 2]), [1, 2]), r"shape \(3, 2\)"),
    (lambda: verification.pair_scores(np.array([[1, 2], [np.nan, 0]]), [1, 2]), "`embeddings` row 1"),
    (lambda: verification.pair_scores(np.ones([2, 2]), [1, -1]), "1 known rows"),
    (lambda: verification.pair_scores(np.ones([4, 2]), [1, 2, 3, 3], max_pairs=1), "`max_pairs` is 1"),
])
def test_wrong_input_is_refused(call, told):
    with pytest.raises(ValueError, match=told):
        call()


def test_metrics_need_no_tensorflow():
    code = ("import sys, keras_apps.metrics.ranking, keras_apps.metrics.verification; "
            "sys.exit(any(name.split('.')[0] in ('tensorflow', 'keras') for name in sys.modules))")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
