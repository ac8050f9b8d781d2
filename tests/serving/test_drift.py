"""When the answers of a version are said to differ from what was stored at export, and when not."""

import numpy as np
import pytest
from absl import logging
from scipy import stats

from saved_models.baseline import distances, facts_of
from serving.drift import LEAVES, NOTICE_SECONDS, WINDOW, Figures, Flag, Number, Share, band


def stored_of(**outputs):
    return facts_of({name: np.asarray(values) for name, values in outputs.items()})


def warnings_of(figures, key, stream, monkeypatch, rows=1):
    """[(row, line)] that a stream of {output: [N, ...]} gives, so many rows a request."""
    told, at = [], [0]
    monkeypatch.setattr(logging, "warning", lambda text, *words: told.append((at[0], text % words)))
    count = len(next(iter(stream.values())))
    for start in range(0, count, rows):
        at[0] = min(start + rows, count)
        figures.see(key, {name: values[start:start + rows] for name, values in stream.items()})
    return told


@pytest.mark.parametrize("hits, misses", [(0.5, 500.5), (11, 490), (250.5, 250.5), (2, 19), (40.5, 0.5)])
@pytest.mark.parametrize("tail", [1e-6, 1e-2])
def test_band_is_that_of_the_beta_binomial(hits, misses, tail):
    fewest, most = band(hits, misses, WINDOW, tail)
    spread = stats.betabinom(WINDOW, hits, misses)
    assert spread.cdf(fewest - 1) <= tail * (1 + 1e-6) and spread.cdf(fewest) > tail
    assert spread.sf(most) <= tail * (1 + 1e-6) and spread.sf(most - 1) > tail


DRAWS = {
    "normal": lambda random, rows: random.normal(0.3, 0.2, rows),
    "heavy": lambda random, rows: random.standard_t(2, rows),
    "sure": lambda random, rows: np.minimum(random.normal(1.0, 0.1, rows), 1.0),  # half of them exactly 1
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("held_out", [25, 500])
def test_numbers_as_at_export_hardly_ever_warn(draw, held_out):
    random, windows, alarms = np.random.default_rng(3), 0, 0
    for _ in range(40):
        number = Number("score", stored_of(score=draw(random, held_out).astype(np.float32))["score"])
        told = []
        for _ in range(26):
            told += number.add(draw(random, WINDOW).astype(np.float32).tolist())
            windows += 1
        alarms += len(list(filter(None, told)))
    assert windows > 1000 and alarms == 0


def test_other_identities_than_those_held_out_hardly_ever_warn():
    random, alarms = np.random.default_rng(7), 0

    def draw(identities, each):
        """Images of an identity are alike."""
        means = random.normal(size=(identities, 1))
        return (means + random.normal(0, 0.3, (identities, each))).ravel()

    groups = np.repeat(np.arange(20), 20)
    for _ in range(40):
        number = Number("score", facts_of({"score": draw(20, 20)}, groups=groups)["score"])
        for _ in range(25):
            alarms += len(list(filter(None, number.add(draw(WINDOW, 1).tolist()))))
        number = Number("score", facts_of({"score": draw(400, 1)}, groups=np.arange(400))["score"])
        assert any(number.add((draw(WINDOW, 1) + 1.2).tolist())), "many identities are still worth something"
    assert alarms == 0


@pytest.mark.parametrize("share", [0.0, 0.03, 0.5])
def test_flags_as_at_export_hardly_ever_warn(share):
    random, alarms = np.random.default_rng(4), 0
    for _ in range(100):
        flag = Flag("abstain", stored_of(abstain=random.random(300) < share)["abstain"])
        for _ in range(25):
            alarms += len(list(filter(None, flag.add((random.random(WINDOW) < share).tolist()))))
    assert alarms == 0


@pytest.mark.parametrize("move, what", [
    (lambda x: x + 0.25, "score above "),  # every image a little
    (lambda x: 4 * (x - 0.3) + 0.3, "score outside ["),  # the middle stays
])
def test_a_shifted_stream_warns_once_within_a_few_hundred_images_and_once_more_when_it_is_back(
        move, what, monkeypatch):
    random, seconds = np.random.default_rng(5), [0.0]
    held_out, usual, later = (random.normal(0.3, 0.2, rows).astype(np.float32) for rows in (500, 3000, 3000))
    figures = Figures("m", 2, {"default": "detect", "signatures": {"detect": stored_of(score=held_out)}},
                      clock=lambda: seconds[0])
    assert warnings_of(figures, "detect", {"score": usual}, monkeypatch) == []
    told = [one for one in warnings_of(figures, "detect_tensor", {"score": move(later)}, monkeypatch) if what in one[1]]
    assert len(told) == 1 and 20 < told[0][0] < 300
    assert told[0][1].startswith("Model m version 2, signature detect: score ") and "has left its band" in told[0][1]
    seconds[0] = NOTICE_SECONDS + 1
    told = [one for one in warnings_of(figures, "serving_default", {"score": usual}, monkeypatch) if what in one[1]]
    assert len(told) == 1 and 20 < told[0][0] < 300 and "is back in its band" in told[0][1]


def test_embeddings_of_other_images_warn(monkeypatch):
    random = np.random.default_rng(6)

    def vectors(mean, rows):
        return (random.normal(size=(rows, 16)) + mean).astype(np.float32)

    figures = Figures("m", 1, {"default": "embed", "signatures": {"embed": stored_of(embedding=vectors(1.0, 400))}})
    assert warnings_of(figures, "embed", {"embedding": vectors(1.0, 4000)}, monkeypatch, rows=8) == []
    told = warnings_of(figures, "embed", {"embedding": vectors(0.6, 400)}, monkeypatch, rows=8)
    assert any("distance above" in line for _, line in told) and told[0][0] <= 300


def test_a_share_that_flips_all_the_time_never_floods_the_log():
    seconds = [0.0]
    share, told = Share("share of abstain", (20.5, 480.5), clock=lambda: seconds[0]), []
    for _ in range(600):  # a second each: windows of all and of none in turn
        seconds[0] += 1
        told.append(share.add([bool(int(seconds[0]) % 2)] * WINDOW))
    assert len(list(filter(None, told))) <= 600 / NOTICE_SECONDS + 1


def test_between_the_bands_nothing_changes():
    share = Share("x", (50.5, 450.5), clock=iter(range(0, 10**6, 100)).__next__)
    (fewest, most), (_, inner) = (band(50.5, 450.5, WINDOW, tail) for tail in (LEAVES, 1e-2))
    assert inner < most and fewest < inner

    def with_hits(count):
        return share.add([True] * count + [False] * (WINDOW - count))

    assert with_hits(most) == "" and "left" in with_hits(most + 1)
    assert with_hits(most) == "" and with_hits(inner + 1) == "" and share.out
    assert "back" in with_hits(inner) and not share.out
    assert with_hits(most) == ""


def test_nothing_is_said_before_a_window_is_full():
    share = Share("x", (1.5, 500.5))
    assert share.add([True] * (WINDOW - 1)) == "" and share.share == 1.0 and not share.out
    assert share.add([True]) and share.out
    assert Share("x").share is None


def test_histograms_and_windows_count_rows():
    number = Number("confidence")
    number.add([0.05, 0.051, 2.0])
    assert number.histogram.buckets[:2] == [1, 1] and number.histogram.buckets[-1] == 1
    flag = Flag("unknown")
    flag.add([True, False, False, True])
    assert (flag.rows, flag.hits, flag.shares["flagged"].share) == (4, 2, 0.5)


def test_a_model_without_stored_answers_is_counted_and_never_compared(monkeypatch):
    figures = Figures("m", 1)
    stream = {"scores": np.float32([[0.9, 0.1], [0.3, 0.2]]), "unknown": np.array([False, True])}
    assert warnings_of(figures, "search", stream, monkeypatch, rows=2) == []
    kinds = {(signature, name): figure for signature, name, figure in figures.all()}
    assert set(kinds) == {("search", "score"), ("search", "unknown")}
    assert sum(kinds["search", "score"].histogram.buckets) == 2 and kinds["search", "unknown"].hits == 1


def test_with_few_identities_nothing_is_compared():
    facts = facts_of({"score": np.arange(60.0), "decision": np.arange(60) > 30}, groups=np.arange(60) // 20)
    assert facts["score"]["effective"] == facts["decision"]["effective"] == 3
    assert Number("score", facts["score"]).shares == {}
    assert Flag("decision", facts["decision"]).shares["flagged"].expected is None


def test_an_embedding_of_another_length_is_passed_over(monkeypatch):
    held_out = np.random.default_rng(0).normal(1, 1, (50, 4)).astype(np.float32)
    figures = Figures("m", 1, {"default": "embed", "signatures": {"embed": stored_of(embedding=held_out)}})
    assert warnings_of(figures, "embed", {"embedding": np.ones((2, 3), np.float32)}, monkeypatch) == []
    assert figures.all() == []
    assert len(distances(np.ones((2, 4), np.float32), np.ones(4, np.float32) / 2)) == 2
