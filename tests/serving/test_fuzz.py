"""What no client should send, a little of it; `python -m tests.serving.fuzz` sends more."""

import pytest

from tests.serving import fuzz


def test_a_thousand_inputs_leave_the_server_answering(tmp_path):
    found = fuzz.run(tmp_path, 1000, seed=7)
    assert sum(found.answers.values()) == 1000 and not found.tracebacks
    assert found.answers["grpc OK"] and found.answers["grpc INVALID_ARGUMENT"] and found.answers["http 400"]
    assert found.after_mb - found.before_mb < fuzz.GROWTH_MB


def test_inputs_can_be_made_again():
    one, same, other = fuzz.Inputs(3), fuzz.Inputs(3), fuzz.Inputs(4)
    assert [one.make(n) for n in range(50)] == [same.make(n) for n in range(50)] != [other.make(n) for n in range(50)]


def test_a_server_that_answers_wrongly_is_told_of(monkeypatch):
    sender = fuzz.Sender.__new__(fuzz.Sender)

    class Channel:
        def unary_unary(self, method):
            return lambda data, timeout: b""
    sender._channel = Channel()
    with pytest.raises(RuntimeError, match="answered wrongly"):
        sender.require_sound()
