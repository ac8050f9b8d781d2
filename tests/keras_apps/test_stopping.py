"""When a run is asked to stop: signals and time."""

import os
import signal
import threading

import pytest

from keras_apps import stopping
from keras_apps.stopping import SIGNALLED, TIME_UP, Stopping


@pytest.fixture
def clock(monkeypatch):
    """[seconds], which a test may set."""
    now = [1000.0]
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now[0])
    return now


def test_minutes_are_counted_from_the_start(clock):
    asked = Stopping(minutes=1.5)
    assert asked.asked() == 0
    clock[0] += 89.9
    assert asked.asked() == 0
    clock[0] += 0.2
    assert asked.asked() == TIME_UP


def test_no_minutes_are_no_limit(clock):
    asked = Stopping()
    clock[0] += 1e9
    assert asked.asked() == 0


@pytest.mark.parametrize("minutes", [-1, -0.5, float("nan")])
def test_minutes_that_are_none_are_refused(minutes):
    with pytest.raises(ValueError, match=r"`max_minutes` is (-1|-0.5|nan) but must not be negative; 0 sets no limit"):
        Stopping(minutes)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_comes_before_time(number, clock, capfd):
    asked, kept = Stopping(minutes=1), [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    with asked.watching():
        os.kill(os.getpid(), number)
        clock[0] += 100
        assert asked.asked() == SIGNALLED and asked.signal == number.name
    assert capfd.readouterr().err == f"{number.name}: saving after this step\n"
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == kept, "others' handlers come back"


def test_a_second_ctrl_c_ends_at_once():
    asked = Stopping()
    with pytest.raises(KeyboardInterrupt), asked.watching():
        os.kill(os.getpid(), signal.SIGINT)
        assert asked.asked() == SIGNALLED
        os.kill(os.getpid(), signal.SIGINT)
        signal.sigtimedwait([], 0.1)     # Python takes signals between two operations
        pytest.fail("went on")


def test_a_second_sigterm_waits_for_the_first():
    asked = Stopping()
    with asked.watching():
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        assert asked.asked() == SIGNALLED


def test_handlers_come_back_after_an_error():
    kept = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError), Stopping().watching():
        raise RuntimeError
    assert signal.getsignal(signal.SIGTERM) == kept


def test_other_threads_run_without_signals():
    found = []

    def run():
        with Stopping().watching():
            found.append(signal.getsignal(signal.SIGTERM))
    kept = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [kept]
