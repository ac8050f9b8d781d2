import subprocess
import sys

import numpy as np
import pytest
from sklearn import metrics as reference

from keras_apps.metrics import detection, verification


def drawn(count=300, share=0.4, seed=0, digits=None, dtype=np.float64):
    generator = np.random.default_rng(seed)
    fake = generator.random(count) < share
    scores = generator.normal(size=count) + 1.5 * fake
    return (scores if digits is None else np.round(scores, digits)).astype(dtype), fake


CASES = [drawn(), drawn(seed=1, digits=1), drawn(seed=2, digits=0), drawn(40, 0.9, 3, 1), drawn(seed=4, dtype="f4")]


@pytest.mark.parametrize("scores, fake", CASES)
def test_auc_equals_the_loop_and_scikit_learn(scores, fake):
    value = detection.auc(scores, fake)
    wins = [(f > r) + 0.5 * (f == r) for f in scores[fake] for r in scores[~fake]]
    assert value == pytest.approx(np.mean(wins), abs=1e-9) and type(value) is float
    assert value == pytest.approx(reference.roc_auc_score(fake, scores), abs=1e-9)
    order = np.random.default_rng(9).permutation(len(scores))
    assert detection.auc(scores[order], fake[order].astype(int)) == value
    assert detection.auc(-scores, ~fake) == pytest.approx(value, abs=1e-12)
    assert detection.auc(np.exp(scores.astype(float)), fake) == value


def test_auc_by_hand():
    assert detection.auc([0.9, 0.4, 0.5, 0.1], [1, 1, 0, 0]) == 0.75
    assert detection.auc([3, 3, 3], [1, 0, 0]) == 0.5
    assert detection.auc([1e300, -1e300], [True, False]) == 1
    assert detection.auc(*drawn()) < detection.auc(drawn()[0] + drawn()[1], drawn()[1])


@pytest.mark.parametrize("scores, fake", CASES)
@pytest.mark.parametrize("threshold", [-9, 0, 0.7, 1.0, 9])
def test_decisions_equal_scikit_learn(scores, fake, threshold):
    found = detection.at_threshold(scores, fake, threshold)
    parts = reference.precision_recall_fscore_support(fake, scores >= threshold, labels=[True, False], zero_division=0)
    for k, suffix in enumerate(("", "_real")):
        for name, part in zip(("precision", "recall", "f"), parts):
            assert found[name + suffix] == pytest.approx(part[k], abs=1e-9)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(fake, scores >= threshold), abs=1e-9)
    assert len(found) == 7 and all(type(value) is float for value in found.values())
    order = np.random.default_rng(9).permutation(len(scores))
    assert detection.at_threshold(scores[order], fake[order], threshold) == found


def test_decisions_by_hand():
    #        called: T T T F F F        the score at the threshold is called
    scores, fake = [0.9, 0.8, 0.5, 0.4, 0.2, 0.1], [True, True, False, True, False, False]
    assert detection.at_threshold(scores, fake, 0.5) == pytest.approx({
        "precision": 2 / 3, "recall": 2 / 3, "f": 2 / 3, "precision_real": 2 / 3, "recall_real": 2 / 3, "f_real": 2 / 3,
        "accuracy": 4 / 6})
    found = detection.at_threshold(scores, fake, 0.85)
    assert (found["precision"], found["recall"], found["f"]) == pytest.approx((1, 1 / 3, 1 / 2))
    assert (found["precision_real"], found["recall_real"], found["f_real"]) == pytest.approx((3 / 5, 1, 3 / 4))


def test_a_share_of_nothing_is_zero():
    nothing = {"precision": 0, "recall": 0, "f": 0}
    found = detection.at_threshold([0.1, 0.2], [True, True], 0.5)       # no real image, nothing called fake
    assert found == {**nothing, "precision_real": 0, "recall_real": 0, "f_real": 0, "accuracy": 0}
    found = detection.at_threshold([0.1, 0.2], [False, False], 0.5)
    assert found == {**nothing, "precision_real": 1, "recall_real": 1, "f_real": 1, "accuracy": 1}
    assert detection.at_threshold([0.1], [True], np.inf)["recall"] == 0
    assert detection.at_threshold([0.1], [True], -np.inf)["recall"] == 1


@pytest.mark.parametrize("threshold", [0.7, np.float64(0.7), np.float32(0.7), np.array(0.7)])
def test_a_threshold_is_rounded_to_the_dtype_of_the_scores(threshold):
    scores = np.array([0.7, 0.6], np.float32)       # float32(0.7) lies below the float64 0.7
    assert detection.at_threshold(scores, [1, 1], threshold)["recall"] == 0.5


def test_attack_errors_by_hand():
    scores = [0.9, 0.1, 0.2, 0.8, 0.9, 0.4, 0.6, 0.5, 0.1, 0.2]
    sources = [4, 4, 4, 4, 0, 0, -1, -1, -1, -1]
    found = detection.attack_errors(scores, sources, 0.5)
    # Of generator 4 two of four pass, of 0 one of two; two of four reals are called (one lies on the threshold).
    assert found == {"apcer": 0.5, "bpcer": 0.5, "acer": 0.5, "apcer_by_source": {0: 0.5, 4: 0.5}}
    found = detection.attack_errors(scores, sources, 0.85)
    assert found == {"apcer": 0.75, "bpcer": 0, "acer": 0.375, "apcer_by_source": {0: 0.5, 4: 0.75}}
    assert list(found["apcer_by_source"]) == [0, 4] and all(type(key) is int for key in found["apcer_by_source"])


@pytest.mark.parametrize("threshold", [-9, 0.3, 1.2, 9])
def test_attack_errors_equal_the_loop(threshold):
    scores, fake = drawn(seed=5, digits=1)
    sources = np.where(fake, np.random.default_rng(0).integers(0, 4, len(fake)), -1)
    found = detection.attack_errors(scores, sources, threshold)
    passed = {s: [score < threshold for score, source in zip(scores, sources) if source == s] for s in range(4)}
    called = [score >= threshold for score, source in zip(scores, sources) if source == -1]
    wanted = {s: sum(each) / len(each) for s, each in passed.items()}
    assert found["apcer_by_source"] == pytest.approx(wanted, abs=1e-9)
    assert found["apcer"] == pytest.approx(max(wanted.values()), abs=1e-9)
    assert found["bpcer"] == pytest.approx(sum(called) / len(called), abs=1e-9)
    assert found["acer"] == pytest.approx((found["apcer"] + found["bpcer"]) / 2, abs=1e-9)
    assert all(type(found[name]) is float for name in ("apcer", "bpcer", "acer"))
    renamed = detection.attack_errors(scores, np.where(fake, 10 - sources, -1), threshold)
    assert {key: renamed[key] for key in ("apcer", "bpcer", "acer")} == {
        key: found[key] for key in ("apcer", "bpcer", "acer")}


def test_an_easy_generator_hides_no_hard_one():
    sources = np.repeat([-1, 0, 1], [10, 90, 10])
    scores = np.repeat([0.0, 1.0, 0.0], [10, 90, 10])
    assert detection.attack_errors(scores, sources, 0.5)["acer"] == 0.5
    assert detection.attack_errors(np.where(sources >= 0, 1.0, 0.0), sources, 0.5)["acer"] == 0


def naive_tracks(scores, tracks):
    seen = {}
    for at, track in enumerate(tracks):
        seen.setdefault(("alone", at) if track == -1 else track, []).append(at)
    frames = sorted(seen.values())
    return [np.mean(scores[at]) for at in frames], [scores[at].max() for at in frames], [at[0] for at in frames]


def test_tracks_by_hand():
    mean, worst, first = detection.by_track([0.1, 0.5, 0.9, 0.3, 0.2, 0.4], [7, -1, 7, 2, -1, 2])
    np.testing.assert_allclose(mean, [0.5, 0.5, 0.35, 0.2])
    np.testing.assert_array_equal(worst, [0.9, 0.5, 0.4, 0.2])
    np.testing.assert_array_equal(first, [0, 1, 3, 4])


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_tracks_equal_the_loop(dtype):
    scores, _ = drawn(seed=6, dtype=dtype)
    tracks = np.random.default_rng(0).integers(-1, 40, len(scores)) * 1000
    tracks[tracks < 0] = -1
    mean, worst, first = detection.by_track(scores, tracks)
    for got, wanted in zip((mean, worst, first), naive_tracks(scores.astype(float), tracks)):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-9)
    assert mean.dtype == np.float64 and worst.dtype == dtype and (mean <= worst).all()
    renamed = detection.by_track(scores, np.where(tracks < 0, -1, 99_000 - tracks))
    for got, wanted in zip(renamed, (mean, worst, first)):
        np.testing.assert_array_equal(got, wanted)


def test_tracks_of_one_frame_and_none():
    scores = np.array([0.4, 0.2, 0.3])
    for tracks in ([-1, -1, -1], [5, 3, 4], [np.iinfo(np.int64).max, -1, 0]):
        for got, wanted in zip(detection.by_track(scores, tracks), (scores, scores, [0, 1, 2])):
            np.testing.assert_array_equal(got, wanted)
    for part in detection.by_track([], []):
        assert part.shape == (0,)
    mean, worst, _ = detection.by_track([0.1, 0.1, 0.1], [1, 1, 1])
    assert mean == worst == 0.1         # the sum of three is 0.30000000000000004
    huge = np.full(3, np.finfo(np.float32).max)
    assert detection.by_track(huge, [1, 1, 1])[0] == huge[0]
    np.testing.assert_array_equal(scores, [0.4, 0.2, 0.3])


@pytest.mark.parametrize("scores, fake", CASES)
@pytest.mark.parametrize("share", [0, 0.01, 0.1, 0.29, 0.5, 0.999])
def test_the_threshold_is_the_smallest_that_keeps_to_the_share(scores, fake, share):
    threshold = detection.threshold_at_false_alarms(scores, fake, share)
    real = scores[~fake]
    assert scores.dtype.type(threshold) == threshold and type(threshold) is float
    assert np.mean(real >= threshold) <= share + 1e-12
    if threshold == np.finfo(scores.dtype).tiny:
        below = 0
    else:
        below = np.nextafter(scores.dtype.type(threshold), scores.dtype.type(-np.inf))
    assert np.mean(real >= below) > share
    # No threshold allowed finds more fakes.
    far, tar, _ = reference.roc_curve(fake, scores, drop_intermediate=False)
    assert np.mean(scores[fake] >= threshold) == pytest.approx(tar[far <= share + 1e-12].max(), abs=1e-12)
    assert np.mean(scores[fake] >= threshold) == pytest.approx(verification.tar_at_far(scores, fake, share))


def test_the_threshold_by_hand():
    scores, fake = np.r_[np.arange(10.0), 20, 21], np.arange(12) >= 10
    for share, bound in ((0, 9), (0.05, 9), (0.1, 8), (0.29, 7), (0.3, 6), (0.8, 1)):
        assert detection.threshold_at_false_alarms(scores, fake, share) == np.nextafter(bound, 99)
    assert detection.threshold_at_false_alarms(scores, fake, 0.9) == np.finfo(float).tiny    # above 0, not subnormal
    assert detection.threshold_at_false_alarms(scores, fake, 1) == 0        # all may be called
    # Where the kinds are far apart it stays by the reals, in place of the middle of the gap.
    assert detection.threshold_at_false_alarms(scores, fake, 0) < 9.001
    assert verification.threshold_at_far(scores, fake, 0) == 14.5
    # 0.29 of 100 are 29 and not 28.
    assert detection.threshold_at_false_alarms(np.arange(100), np.zeros(100), 0.29) == np.nextafter(70, 99)


def test_reals_that_tie_are_called_together_or_not_at_all():
    scores, fake = [1.0, 2, 2, 2, 3, 2, 9], [0, 0, 0, 0, 0, 1, 1]
    # The top one of five may be called; of the three ties below none, until all three may.
    for share in (0.2, 0.4, 0.6, 0.79):
        threshold = detection.threshold_at_false_alarms(scores, fake, share)
        assert threshold == np.nextafter(2, 9)
    assert detection.threshold_at_false_alarms(scores, fake, 0.8) == np.nextafter(1, 9)
    assert detection.threshold_at_false_alarms([2, 2, 2], [0, 0, 0], 0.5) > 2


def test_the_threshold_hangs_on_real_images_alone():
    scores, fake = drawn(seed=7)
    threshold = detection.threshold_at_false_alarms(scores, fake, 0.05)
    assert detection.threshold_at_false_alarms(scores[~fake], fake[~fake], 0.05) == threshold
    assert detection.threshold_at_false_alarms(np.where(fake, 3 - scores, scores)[::-1], fake[::-1], 0.05) == threshold
    shares = [detection.threshold_at_false_alarms(scores, fake, share) for share in (0, 0.01, 0.1, 0.5, 1)]
    assert shares == sorted(shares, reverse=True)
    largest = np.finfo(np.float32).max
    assert detection.threshold_at_false_alarms(np.array([largest, 0]), [0, 1], 0) == np.nextafter(largest, np.inf)
    assert detection.threshold_at_false_alarms(np.array([0, -1e-45, 1], "f4"), [0, 0, 1], 0) == np.finfo("f4").tiny


def naive_mass(maps, boxes):
    shares = []
    for values, (top, left, height, width) in zip(maps, boxes):
        inside = total = 0.0
        for y in range(values.shape[0]):
            for x in range(values.shape[1]):
                total += values[y, x]
                inside += values[y, x] * (top <= y < top + height and left <= x < left + width)
        shares.append(inside / total)
    return shares


def test_mass_equals_the_loop():
    generator = np.random.default_rng(0)
    maps, corners = generator.random([20, 6, 9]), generator.integers(0, [4, 6], [20, 2])
    boxes = np.concatenate([corners, generator.integers(1, [3, 4], [20, 2])], axis=1)
    found = detection.mass_in_box(maps, boxes)
    np.testing.assert_allclose(found, naive_mass(maps, boxes), atol=1e-9)
    assert found.dtype == np.float64
    np.testing.assert_allclose(detection.mass_in_box(7 * maps, boxes), found, atol=1e-12)
    np.testing.assert_array_equal(detection.mass_in_box(maps[::-1], boxes[::-1]), found[::-1])
    np.testing.assert_allclose(
        detection.mass_in_box(maps.transpose(0, 2, 1), boxes[:, [1, 0, 3, 2]]), found, atol=1e-12)


def test_mass_by_hand():
    maps = np.zeros([4, 4, 5])
    maps[0, 1, 2], maps[0, 3, 4] = 3, 1
    maps[1] = 1
    maps[3, 0, 0] = np.finfo(np.float64).max
    boxes = np.array([[1, 2, 1, 1], [0, 0, 2, 5], [1, 1, 2, 2], [0, 0, 1, 1]])
    # Three quarters; half of an even map; a map of zeros gets the area's share, 4 of 20; all.
    np.testing.assert_allclose(detection.mass_in_box(maps, boxes), [0.75, 0.5, 0.2, 1])
    whole = np.tile([0, 0, 4, 5], [4, 1])
    np.testing.assert_array_equal(detection.mass_in_box(maps, whole), [1, 1, 1, 1])
    huge = np.full([1, 8, 8], np.finfo(np.float64).max)
    np.testing.assert_allclose(detection.mass_in_box(huge, [[0, 0, 4, 4]]), [0.25])
    assert detection.mass_in_box(np.ones([1, 4, 4], np.uint8), [[0, 0, 1, 4]]) == [0.25]


def test_mass_is_never_above_all():
    maps = np.zeros([200, 16, 16])
    maps[:, 2:13, 3:14] = np.random.default_rng(0).random([200, 11, 11])
    found = detection.mass_in_box(maps, np.tile([2, 3, 11, 11], [200, 1]))     # sums of two orders differ in a bit
    np.testing.assert_allclose(found, 1, atol=1e-12)
    assert found.max() == 1


def test_a_map_that_finds_the_box_has_more_mass_there():
    box = np.array([[2, 3, 4, 3]])
    maps = np.full([1, 12, 12], 0.2)
    found = []
    for strength in (0, 0.2, 0.8):
        better = maps.copy()
        better[0, 2:6, 3:6] += strength
        found.append(float(detection.mass_in_box(better, box)[0]))
    assert found[0] == pytest.approx(12 / 144) and found == sorted(set(found))


MAPS, BOXES = np.ones([2, 4, 5]), np.array([[0, 0, 1, 1], [1, 1, 3, 4]])


@pytest.mark.parametrize("call, told", [
    (lambda: detection.auc([0.1, np.nan], [1, 0]), "`scores` row 1 is nan"),
    (lambda: detection.auc([0.1, np.inf], [1, 0]), "`scores` row 1 is inf"),
    (lambda: detection.auc([0.1, 0.2], [0, 0]), "no fake image"),
    (lambda: detection.auc([0.1, 0.2], [1, 1]), "no real image"),
    (lambda: detection.auc([0.1, 0.2], [1, 0, 1]), r"`scores` has shape \(2,\) and `fake` \(3,\)"),
    (lambda: detection.auc([0.1, 0.2], [3, -1]), "`fake` has the value 3"),
    (lambda: detection.at_threshold([], [], 0.5), r"`scores` has shape \(0,\)"),
    (lambda: detection.at_threshold([0.1], [1], np.nan), "`threshold` is NaN"),
    (lambda: detection.attack_errors([0.1, 0.2], [-1, -1], 0.5), "names 2 real images"),
    (lambda: detection.attack_errors([0.1, 0.2], [0, 1], 0.5), "names 0 real images"),
    (lambda: detection.attack_errors([0.1, 0.2], [0, -2], 0.5), r"`sources` is int64 \(2,\) from -2"),
    (lambda: detection.attack_errors([0.1, 0.2], [0.0, -1.0], 0.5), "`sources` is float64"),
    (lambda: detection.attack_errors([0.1, 0.2], [0, -1], np.nan), "`threshold` is NaN"),
    (lambda: detection.by_track([0.1, 0.2], [0]), r"`tracks` is int64 \(1,\)"),
    (lambda: detection.by_track([0.1, 0.2], []), r"`tracks` is int64 \(0,\)"),
    (lambda: detection.by_track([[0.1, 0.2]], [0]), r"`scores` has shape \(1, 2\)"),
    (lambda: detection.by_track([np.nan], [0]), "`scores` row 0 is nan"),
    (lambda: detection.threshold_at_false_alarms([0.1, 0.2], [1, 1]), "no real image"),
    (lambda: detection.threshold_at_false_alarms([0.1, 0.2], [1, 0], 1.5), "`share` is 1.5"),
    (lambda: detection.threshold_at_false_alarms([0.1, 0.2], [1, 0], np.nan), "`share` is nan"),
    (lambda: detection.mass_in_box(MAPS[0], BOXES), r"`maps` has shape \(4, 5\)"),
    (lambda: detection.mass_in_box(MAPS, BOXES[:1]), r"`boxes` is int64 \(1, 4\)"),
    (lambda: detection.mass_in_box(MAPS, BOXES * 1.0), "`boxes` is float64"),
    (lambda: detection.mass_in_box(MAPS, BOXES + [0, 1, 0, 0]), r"`boxes` row 1 is \[1, 2, 3, 4\]"),
    (lambda: detection.mass_in_box(MAPS, BOXES - [1, 0, 0, 0]), "`boxes` row 0"),
    (lambda: detection.mass_in_box(MAPS, BOXES * [1, 1, 0, 1]), "must hold a pixel"),
    (lambda: detection.mass_in_box(-MAPS, BOXES), "`maps` row 0 has values from -1.0"),
    (lambda: detection.mass_in_box(MAPS * np.nan, BOXES), "`maps` row 0 has values from nan"),
])
def test_wrong_input_is_refused(call, told):
    with pytest.raises(ValueError, match=told):
        call()


def test_neither_file_needs_tensorflow():
    code = ("import sys, keras_apps.metrics.detection, keras_apps.metrics.generation; "
            "sys.exit(any(name.split('.')[0] in ('tensorflow', 'keras') for name in sys.modules))")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
