"""What no client should send, a little of it; `python -m tests.serving.fuzz` sends more."""

import collections

import pytest
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import predict_pb2

from tests.serving import fuzz, hostile


def test_a_few_inputs_leave_the_server_answering(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    found = fuzz.run(folder, 400, seed=7)
    assert sum(found.answers.values()) == 400 and not found.faults()
    assert found.answers["grpc OK"] and found.answers["grpc INVALID_ARGUMENT"] and found.answers["http 400"]
    assert found.answers["page 404"] and found.answers["grpc NOT_FOUND"]


def test_inputs_can_be_made_again():
    one, same, other = hostile.Inputs(3, "/m"), hostile.Inputs(3, "/m"), hostile.Inputs(4, "/m")
    assert [one.make(n) for n in range(50)] == [same.make(n) for n in range(50)] != [other.make(n) for n in range(50)]


def test_every_method_is_asked():
    inputs = hostile.Inputs(0, "/m")
    made = [inputs.make(number) for number in range(1500)]
    assert {one.to for one in made} == {"grpc", "http", "page", "tcp"}
    assert {one.what[0] for one in made if one.to == "grpc"} == set(hostile.METHODS)
    tricks = collections.Counter(one.to for one in made if one.trick)
    assert all(tricks[to] > 10 for to in ("grpc", "http", "page"))


def test_messages_are_taken_apart_as_they_are_put_together():
    number, kind, value = hostile._fields(hostile._varint(300 << 3) + hostile._varint(2**64 - 1))[0]
    assert (number, kind, value) == (300, 0, 2**64 - 1)
    assert hostile._fields(b"\x0a\x02ab\x15abcd") == [(1, 2, b"ab"), (2, 5, b"abcd")]
    for none in (b"\x0a\x05ab", b"\x00", b"\xff", b"\x0b", b"\x80" * 11):
        assert hostile._fields(none) is None


class Channel:
    """Answers every gRPC call in the same way."""

    def unary_unary(self, method):
        return lambda data, timeout: b""


def test_a_server_that_answers_wrongly_is_told_of(monkeypatch):
    sender = fuzz.Sender("localhost:1", 1, 1, "/m")
    sender._channel.close()
    sender._channel = Channel()
    search = predict_pb2.PredictResponse()
    search.outputs["identities"].dtype = types_pb2.DT_STRING
    with monkeypatch.context() as patched:
        patched.setattr(fuzz, "asking", lambda address: lambda *_: (200, {"predictions": [3.0, 4.5]}))
        answers = {hostile.PREDICT: search.SerializeToString(), hostile.REGRESSED: b""}
        patched.setattr(sender, "_call", lambda method, _: answers[method])
        with pytest.raises(RuntimeError, match="answered wrongly: "):
            sender.require_sound()
    with pytest.raises(RuntimeError, match="a trick is answered with OK"):
        sender.send(hostile.Input("grpc", (hostile.PREDICT, b""), trick=True))
    sender.send(hostile.Input("grpc", (hostile.PREDICT, b"")))
    assert sender.answers == {"grpc OK": 2}


def test_each_point_can_fail():
    good = {"answers": collections.Counter(), "tracebacks": [], "files": [], "seconds": 1.0,
            "mb": [300.0, 400.0, 400.0] + [900.0] * 16 + [499.0, 900.0]}
    assert fuzz.Found(**good).faults() == [] and fuzz.Found(**good).memory() == (400.0, 499.0)
    assert fuzz.Found(**good | {"tracebacks": ["E\nTraceback"] * 2}).faults() == ["the log holds 2 tracebacks"]
    assert fuzz.Found(**good | {"files": ["../x"]}).faults() == ["files were written: ../x"]
    assert fuzz.Found(**good | {"mb": [400.0, 501.0]}).faults() == [
        "memory grew by 101 MB but at most 100 MB are allowed"]
