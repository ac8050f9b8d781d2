import math

import numpy as np
import pytest
from scipy.special import log_softmax

from keras_apps.metrics import calibration, diagnosis


def calibrated(count=4000, classes=3, seed=0, spread=2.0):
    """Logits whose softmax is how their truth was drawn."""
    generator = np.random.default_rng(seed)
    logits = spread * generator.normal(size=(count, classes))
    sums = np.cumsum(calibration.softmax(logits), axis=1)
    return logits, np.minimum((generator.random((count, 1)) > sums).sum(axis=1), classes - 1)


def likelihood(logits, truth, temperature):
    """Mean negative log likelihood with the smoothed truth, by loops."""
    count, classes = logits.shape
    total = 0.0
    for row, own in zip(np.asarray(logits, float), truth):
        logs = log_softmax(row / temperature)
        for k in range(classes):
            total -= logs[k] * ((count + 1) / (count + 2) if k == own else 1 / ((count + 2) * (classes - 1)))
    return total / count


@pytest.mark.parametrize("count, classes, scale", [(60, 2, 3.0), (40, 5, 0.3), (7, 3, 1.0), (1, 4, 5.0)])
def test_the_temperature_has_the_least_loss_of_all(count, classes, scale):
    logits, truth = calibrated(count, classes, seed=count)
    logits *= scale
    found = calibration.fit_temperature(logits, truth)
    least = likelihood(logits, truth, found)
    for other in np.r_[found * np.array([0.99, 1.01]), np.geomspace(0.05, 20, 60)]:
        assert least <= likelihood(logits, truth, np.clip(other, 0.05, 20)) + 1e-12
    if 0.05 < found < 20:       # where the slope is 0
        rise = likelihood(logits, truth, found * 1.001) - likelihood(logits, truth, found / 1.001)
        assert abs(rise) < 1e-8 * max(1, abs(least))


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("seed", [0, 1])
def test_calibrated_logits_keep_a_temperature_of_one(classes, seed):
    logits, truth = calibrated(6000, classes, seed)
    assert calibration.fit_temperature(logits, truth) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("factor", [0.2, 3.0, 8.0])
def test_the_temperature_scales_with_the_logits(factor):
    for count in (3000, 12):
        logits, truth = calibrated(count)
        base = calibration.fit_temperature(logits, truth)
        assert calibration.fit_temperature(factor * logits, truth) == pytest.approx(factor * base, rel=1e-9)
    logits, truth = calibrated(3000)
    assert calibration.fit_temperature(logits + 1000 * np.arange(3000)[:, None], truth) == pytest.approx(
        calibration.fit_temperature(logits, truth), rel=1e-6)       # the same added to a row changes nothing


def test_logits_that_are_too_sure_are_cooled_and_no_answer_changes():
    logits, truth = calibrated()
    held_out, held_truth = calibrated(seed=1)
    for factor in (2.5, 6.0, 0.4):
        temperature = calibration.fit_temperature(factor * logits, truth)
        assert temperature == pytest.approx(factor, rel=0.05)
        before, after = calibration.softmax(factor * held_out), calibration.softmax(factor * held_out, temperature)
        np.testing.assert_array_equal(before.argmax(1), after.argmax(1))
        figures = [diagnosis.figures(probabilities, held_truth) for probabilities in (before, after)]
        assert figures[1]["ece"] < 0.5 * figures[0]["ece"] and figures[1]["nll"] < figures[0]["nll"]
        assert figures[1]["brier"] < figures[0]["brier"] and figures[1]["accuracy"] == figures[0]["accuracy"]


@pytest.mark.parametrize("count", [1, 2, 5, 50])
def test_right_answers_get_the_probability_of_the_rule_of_succession(count):
    for truth in (np.zeros(count, int), np.arange(count) % 2):      # of one class or of two
        logits = np.where(np.arange(2) == truth[:, None], 6.0, 0.0)
        temperature = calibration.fit_temperature(logits, truth)
        found = calibration.softmax(logits, temperature)[np.arange(count), truth]
        np.testing.assert_allclose(found, (count + 1) / (count + 2), rtol=1e-9)


def test_edges_of_the_temperature_are_finite():
    assert calibration.fit_temperature(np.zeros((3, 2)), [0, 1, 1]) == 1
    assert calibration.fit_temperature([[7, 7, 7]], [2]) == 1       # nothing to go by
    wrong = np.where(np.arange(3) == 0, 5.0, 0.0) * np.ones((9, 1))
    assert calibration.fit_temperature(wrong, np.ones(9, int)) == 20        # worse than chance: no answer is sure
    assert calibration.fit_temperature(1e-6 * wrong, np.zeros(9, int)) == 1 / 20
    for scale in (1e4, 1e30, 1e150, 1e-30):
        logits, truth = calibrated(20)
        assert 1 / 20 <= calibration.fit_temperature(scale * logits, truth) <= 20
    for dtype in (np.float32, np.float16, np.int64):
        logits, truth = calibrated(200)
        wanted = calibration.fit_temperature(logits.astype(dtype).astype(float), truth)
        assert calibration.fit_temperature(logits.astype(dtype), truth.astype(np.int32)) == wanted
    assert type(calibration.fit_temperature(*calibrated(20))) is float
    order = np.random.default_rng(0).permutation(200)
    logits, truth = calibrated(200)
    assert calibration.fit_temperature(logits[order], truth[order]) == pytest.approx(
        calibration.fit_temperature(logits, truth), rel=1e-9)
    renamed = calibration.fit_temperature(logits[:, [2, 0, 1]], (truth + 1) % 3)
    assert renamed == pytest.approx(calibration.fit_temperature(logits, truth), rel=1e-9)


def test_softmax_equals_scipy_and_stays_finite():
    logits = np.random.default_rng(0).normal(size=(20, 4)) * 5
    for temperature in (0.05, 1, 20.0):
        np.testing.assert_allclose(calibration.softmax(logits, temperature),
                                   np.exp(log_softmax(logits / temperature, axis=1)), atol=1e-12)
    np.testing.assert_allclose(calibration.softmax(logits / 3), calibration.softmax(logits, 3.0), atol=1e-12)
    np.testing.assert_array_equal(calibration.softmax([[1e300, 0], [-1e300, -1e300]]), [[1, 0], [0.5, 0.5]])


def test_the_abstention_threshold_by_hand():
    confidence = np.array([0.9, 0.3, 0.5, 0.7, 0.6])
    right = np.array([1, 0, 0, 1, 1])
    wanted = {0: 0, 0.1: 0, 0.2: 0.5, 0.39: 0.5, 0.4: 0.6, 0.6: 0.7, 0.8: 0.9, 1: 0.9}
    for most, threshold in wanted.items():
        found = calibration.abstention_threshold(confidence, right, most)
        assert found == threshold and type(found) is float
    assert calibration.abstention_threshold([0.5, 0.5, 0.5, 0.9], [0, 1, 1, 1], 0.5) == 0.5     # a tie is answered
    assert calibration.abstention_threshold([0.5, 0.9], [1, 1], 0.5) == 0.9     # all are right: by confidence alone
    assert calibration.abstention_threshold(confidence, 1 - right, 0.4) == 0    # abstaining would do harm
    assert calibration.abstention_threshold([0.4], [False], 1) == pytest.approx(0.4)
    assert calibration.abstention_threshold(np.arange(100) / 100, np.ones(100), 0.29) == 0.29       # 29 and not 28


@pytest.mark.parametrize("most", [0, 0.05, 0.2, 0.5, 1])
@pytest.mark.parametrize("digits", [1, 8])
def test_at_most_the_share_is_abstained_from_and_the_rest_is_more_often_right(most, digits):
    generator = np.random.default_rng(0)
    confidence = np.round(generator.random(400), digits)
    right = generator.random(400) < confidence
    threshold = calibration.abstention_threshold(confidence, right, most)
    answered = confidence >= threshold
    assert (~answered).mean() <= most + 1e-12 and right[answered].mean() >= right.mean()
    higher = confidence[confidence > threshold]
    if len(higher) and 0 < most < 1:
        assert (confidence < higher.min()).mean() > most, "no larger one keeps to the share"
    order = generator.permutation(400)
    assert calibration.abstention_threshold(confidence[order], right[order], most) == threshold


@pytest.mark.parametrize("digits", [1, 8])
def test_risk_and_coverage_equal_the_loop(digits):
    generator = np.random.default_rng(1)
    confidence = np.round(generator.normal(size=120), digits)
    right = generator.random(120) < 1 / (1 + np.exp(-confidence))
    coverage, risk = calibration.risk_coverage(confidence, right)
    for place, t in enumerate(sorted(set(confidence), reverse=True)):
        answered = confidence >= t
        assert (coverage[place], risk[place]) == pytest.approx((answered.mean(), 1 - right[answered].mean()), abs=1e-9)
    assert place == len(coverage) - 1 and coverage[-1] == 1
    area = calibration.aurc(confidence, right)
    if digits == 8:
        assert area == pytest.approx(risk.mean(), abs=1e-9)
    orders = [np.lexsort((generator.random(120), -confidence)) for _ in range(300)]
    assert area == pytest.approx(np.mean([np.cumsum(~right[order]) / np.arange(1, 121) for order in orders]), abs=1e-2)
    assert calibration.aurc(2 * confidence[::-1], right[::-1]) == pytest.approx(area, abs=1e-12)
    for other in (np.exp(confidence), 3 * confidence - 7):      # any rising function of it
        np.testing.assert_array_equal(calibration.risk_coverage(other, right), (coverage, risk))
    order = generator.permutation(120)
    np.testing.assert_array_equal(calibration.risk_coverage(confidence[order], right[order]), (coverage, risk))


def test_risk_and_coverage_by_hand():
    coverage, risk = calibration.risk_coverage([0.9, 0.8, 0.8, 0.1], [1, 0, 1, 0])
    np.testing.assert_allclose(coverage, [1 / 4, 3 / 4, 1])
    np.testing.assert_allclose(risk, [0, 1 / 3, 1 / 2])
    assert calibration.aurc([0.9, 0.8, 0.8, 0.1], [1, 0, 1, 0]) == pytest.approx((0 + 0.5 / 2 + 1 / 3 + 2 / 4) / 4)
    assert calibration.aurc([0.5] * 4, [1, 0, 1, 1]) == pytest.approx(1 / 4)        # tells nothing
    assert calibration.aurc([0.3], [True]) == 0 and calibration.aurc([0.3], [False]) == 1
    for risks in (calibration.risk_coverage([1, 2, 3], [1, 1, 1])[1], calibration.risk_coverage([1, 2], [0, 0])[1] - 1):
        assert not risks.any()


def test_a_confidence_that_knows_more_has_a_smaller_area():
    generator = np.random.default_rng(2)
    right = generator.random(500) < 0.7
    areas = [calibration.aurc(right + noise * generator.normal(size=500), right) for noise in (0, 0.5, 2, 100)]
    assert areas == sorted(set(areas)) and areas[0] < 0.06 and areas[-1] == pytest.approx(1 - right.mean(), abs=0.06)


Z, T = np.array([[1.0, 2], [3, 4]]), np.array([0, 1])


@pytest.mark.parametrize("call, told", [
    (lambda: calibration.fit_temperature(Z[0], T), r"`logits` has shape \(2,\)"),
    (lambda: calibration.fit_temperature(Z[:0], []), r"`logits` has shape \(0, 2\)"),
    (lambda: calibration.fit_temperature(Z[:, :1], T), r"`logits` has shape \(2, 1\)"),
    (lambda: calibration.fit_temperature(Z * [[1], [np.nan]], T), r"`logits` row 1 is \[nan, nan\]"),
    (lambda: calibration.fit_temperature(Z, T + 1), "`truth` has the value 2"),
    (lambda: calibration.fit_temperature(Z, T[:1]), r"`truth` is int64 \(1,\)"),
    (lambda: calibration.softmax(Z, 0), "`temperature` is 0"),
    (lambda: calibration.softmax(Z, math.nan), "`temperature` is nan"),
    (lambda: calibration.softmax(Z * np.inf), "`logits` row 0"),
    (lambda: calibration.abstention_threshold([0.5, 1.2], [1, 0], 0.1), "`confidence` row 1 is 1.2"),
    (lambda: calibration.abstention_threshold([0.5, np.nan], [1, 0], 0.1), "`confidence` row 1 is nan"),
    (lambda: calibration.abstention_threshold([0.5], [1], 10), r"`most_abstained` is 10 but must lie in \[0, 1\]"),
    (lambda: calibration.abstention_threshold([0.5], [1], math.nan), "`most_abstained` is nan"),
    (lambda: calibration.risk_coverage([0.5], [1, 0]), r"`confidence` has shape \(1,\) and `right` \(2,\)"),
    (lambda: calibration.risk_coverage([], []), r"`confidence` has shape \(0,\)"),
    (lambda: calibration.aurc([np.nan], [1]), "`confidence` row 0 is nan"),
])
def test_wrong_input_is_refused(call, told):
    with pytest.raises(ValueError, match=told):
        call()
