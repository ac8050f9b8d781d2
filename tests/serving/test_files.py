"""Files appear whole or not at all; what keeps them from it is one sentence."""

import errno
import os

import pytest

from serving.files import require_place, write_whole


def test_a_file_appears_whole_and_alone(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def write(stream):
        stream.write(b"new")
        assert path.read_bytes() == b"old"

    write_whole("out", str(path), write)
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_what_was_there_stays_when_writing_fails(tmp_path, error):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail(stream):
        stream.write(b"half")
        raise error

    with pytest.raises(type(error)) as caught:
        write_whole("out", str(path), fail)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.bin"]
    if isinstance(error, OSError):
        assert str(caught.value) == (
            f"`--out` is {path} but cannot be written: No space left on device; make room or give another --out."
        )


def test_places_are_checked_before_the_work(tmp_path, monkeypatch):
    require_place("out", "a.bin")
    require_place("out", str(tmp_path / "a.bin"))
    with pytest.raises(OSError, match=r"`--out` is /nonexist/a\.bin but there is no folder `/nonexist`; make it first"):
        require_place("out", "/nonexist/a.bin")
    with pytest.raises(OSError, match=f"`--port_file` is {tmp_path} but that is a folder; give the file's own name"):
        require_place("port_file", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)  # a test may run as root, who may do everything
    with pytest.raises(OSError, match="nothing may be written to"):
        require_place("out", str(tmp_path / "a.bin"))
