"""The soak fails on each of its points, and is what it says on a little work."""

import threading

import numpy as np
import pytest

from benchmarks import soak


def periods(mb, **other):
    return [soak.Period(30.0 * (place + 1), place + 1, **{"answers": 30_000, "failed": 0, "wrong": 0, **other},
                        p50=1.0, p99=2.0, mb=value) for place, value in enumerate(mb)]


def test_each_point_can_fail():
    good = periods([500.0] * 20)
    assert soak.faults(10, 30, good, range(19)) == []
    assert soak.faults(10, 30, good, range(18)) == ["18 versions answered but at least 19 were to"]
    assert soak.faults(10, 30, periods([500.0] * 20, failed=1), range(20)) == ["20 requests failed"]
    assert soak.faults(10, 30, periods([500.0] * 20, wrong=2), range(20)) == ["40 answers were wrong"]
    (told,) = soak.faults(10, 30, periods(500 + 1.5 * np.arange(20)), range(20))
    assert told == "memory grew by 13.5 MB, at most 8.2 MB are flat"
    for found in ([], [told]):
        text = soak.document(1000, 800, 0.8, good, range(19), found, "a machine", "0123abc")
        assert "commit 0123abc" in text and ("Failed: memory grew" in text) == bool(found)


def test_memory_is_judged_by_its_second_half_and_beyond_its_noise():
    settled = [*np.linspace(300, 500, 10), *[500.0] * 10]
    assert soak.growth(periods(settled))[0] == pytest.approx(0.0, abs=1e-6)
    noise = np.random.default_rng(0).normal(0, 20, 20)
    grown, error, most = soak.growth(periods(500 + noise))
    assert abs(grown) > most and not soak.faults(10, 30, periods(500 + noise), range(20)), "nothing that is certain"
    assert error > abs(grown) / 2
    assert soak.growth(periods([500.0] * 6)) is None and "Too few half minutes" in soak.document(
        1, 1, 1, periods([500.0]), [1], [], "a machine", "")


def test_an_error_while_a_version_is_written_ends_the_soak():
    written, third = [], threading.Event()

    def change(version):
        if version == 4:
            third.set()
            raise OSError("the disk is full")
        written.append(version)

    with pytest.raises(OSError, match="the disk is full"):
        with soak.Changes(change, 0.01):
            assert third.wait(10)
    assert written == [2, 3]
    with pytest.raises(OSError, match="the disk is full"):
        with soak.Changes(lambda version: change(4), 0.0) as changes:
            while True:     # as the soak does after each period
                changes.require_going()


@pytest.mark.slow
def test_a_short_soak(monkeypatch):
    monkeypatch.setattr(soak, "MEASURED_SECONDS", 1.0)
    monkeypatch.setattr(soak, "PERIOD_SECONDS", 1.0)
    most, rate, found, versions = soak.soak(4 / 60, 0.3, 1.5, tell=lambda text: None)
    assert rate == pytest.approx(0.3 * most) and len(found) in (4, 5) and len(versions) >= 2
    told = soak.faults(4 / 60, 1.5, found, versions)  # a busy machine may refuse some
    assert not [one for one in told if "requests failed" not in one]
