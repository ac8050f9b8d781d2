"""The harness on made-up rows, whose peers run in this interpreter."""

import io
import json
import sys
import textwrap

import numpy as np
import pytest

from benchmarks import row as rows
from benchmarks import run, worker
from tests.tfrecords.here import run_here

KEYS = ["name", "work", "ours", "peer", "peer_name", "ratio", "limit", "unit", "equal", "ours_mb", "peer_mb",
        "headline"]

HEAD = """
    import os
    import pathlib

    import numpy as np

    from benchmarks.row import Peer, Row

    LOG = pathlib.Path(__file__).with_name("log")


    class Ours:
        word, factor = "ours", 1.0

        def __init__(self, arrays):
            self.arrays = arrays
            print("a library greets")

        def note(self, text):
            with LOG.open("a") as log:
                log.write(f"{self.word} {text}\\n")

        def call(self):
            self.note("call")
            return 4

        def bound(self):
            return 1

        def result(self):
            self.note("result")
            return {"x": self.arrays["x"] * self.factor}


    class Other(Ours):
        word = "peer"


    def row(peers=None, **changed):
        return Row(**{"work": "nothing", "unit": "us/item", "inputs": lambda: {"x": np.arange(3.0)}, "ours": Ours,
                      "peers": peers or {"other": Peer(Other, 0.0)}, "headline": "other",
                      "equal": lambda arrays, ours, peer: np.abs(ours["x"] - peer["x"]).max(), **changed})
"""


@pytest.fixture
def made(tmp_path):
    """Writes a row from lines that replace parts of the above; -> its path."""
    def write(text="", name="x1_made.py"):
        (tmp_path / name).write_text(textwrap.dedent(HEAD) + "\n\n" + textwrap.dedent(text))
        return tmp_path / name
    return write


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    """Peers run in this interpreter; how often theirs was asked for."""
    asked = []
    monkeypatch.setattr(run, "peers_python", lambda lock: asked.append(1) or sys.executable)
    return asked


def measured(path, rounds=1, threads=1):
    return list(run.measure("X1", path, threads, rounds))


def test_a_line_has_every_key_and_is_json(made):
    line, = measured(made())
    assert list(line) == KEYS
    assert json.loads(json.dumps(line, allow_nan=False)) == line
    assert (line["name"], line["peer_name"], line["unit"], line["equal"]) == ("X1", "other", "us/item", 0.0)
    assert line["headline"] is True and all(line[key] > 0 for key in ("ours", "peer", "ratio", "limit"))


def test_results_come_first_and_calls_alternate(made):
    path = made()
    measured(path, rounds=3)
    lines = path.with_name("log").read_text().split("\n")[:-1]
    # Memory first, in processes of their own, a call to get ready and one that counts.
    assert lines[:6] == ["ours call"] * 2 + ["ours result"] + ["peer call"] * 2 + ["peer result"]
    assert lines[6:] == ["ours call", "peer call"] * 4


def test_several_peers_are_lines_of_one_name_and_one_is_the_headline(made, asked):
    path = made("""
        class Third(Other):
            factor = 1.5


        def two(made=row):
            return made({"third": Peer(Third, 2.0, own=True), "other": Peer(Other, 0.0)})


        row = two
    """)
    lines = measured(path)
    assert [(line["name"], line["peer_name"], line["headline"], line["equal"]) for line in lines] == [
        ("X1", "third", False, 1.0), ("X1", "other", True, 0.0)]
    assert len(asked) == 1, "a peer of our own environment needs no other"


def test_a_difference_beyond_the_tolerance_is_told_after_the_line(made):
    lines = run.measure("X1", made("Other.factor = 1.5"), rounds=1)
    assert next(lines)["equal"] == 1.0
    with pytest.raises(ValueError, match="X1 differs from `other` by 1 but may by 0; these figures do not count."):
        next(lines)


def test_results_that_are_no_numbers_give_no_line(made):
    with pytest.raises(ValueError, match="X1 against `other` gives nan as the difference"):
        measured(made("Other.factor = np.nan"))


@pytest.mark.parametrize("what", ["__init__", "call", "result"])
def test_a_peer_that_dies_is_one_sentence(made, what):
    path = made(f"Other.{what} = lambda *_: os._exit(7)")
    action = {"__init__": "start"}.get(what, what)
    with pytest.raises(OSError, match=f"^`other` of x1_made.py ended with code 7 in `{action}`; what it said stands"):
        measured(path)


def test_an_error_of_a_side_shows_its_traceback(made, capfd):
    with pytest.raises(ChildProcessError, match="ended with code 1"):
        measured(made("Other.result = lambda self: 1 / 0"))
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_memory_is_that_of_one_call(made):
    line, = measured(made("""
        def call(self):
            np.ones(5_000_000)
            return 1


        Other.call = call
    """))
    if line["peer_mb"] is None:
        pytest.skip("this system does not tell the peak of a process")
    assert 39 < line["peer_mb"] < 60 and line["ours_mb"] < 4


def test_both_sides_get_the_threads(made):
    path = made("""
        NAMES = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"]
        Ours.result = lambda self: {"x": np.float64([os.environ[name] for name in NAMES])}


        def three(made=row):
            return made(equal=lambda arrays, ours, peer: np.abs([ours["x"] - 3, peer["x"] - 3]).max())


        row = three
    """)
    assert measured(path, threads=3)[0]["equal"] == 0.0


@pytest.mark.parametrize("unit, figure", [
    ("s", 0.5), ("ms", 500.0), ("us/item", 125_000.0), ("cpu-ms", 200.0), ("cpu-us/item", 50_000.0), ("items/s", 8.0),
    ("items/cpu-s", 20.0),
])
def test_figures_in_every_unit(made, unit, figure):
    row = rows.load(made()).row(unit=unit)
    assert row.figure({"items": 4.0, "wall": 0.5, "cpu": 0.2}) == pytest.approx(figure)


def test_a_ratio_above_one_is_ours_being_better(made):
    row = rows.load(made()).row
    assert row(unit="ms").ratio(2.0, 10.0) == 5.0 and row(unit="views/cpu-s").ratio(10.0, 2.0) == 5.0


@pytest.mark.parametrize("changed, text", [
    ({"unit": "hours"}, "`unit` is 'hours' but must be like"), ({"unit": "views/ms"}, "`unit` is 'views/ms'"),
    ({"unit": "views/s/item"}, "`unit` is 'views/s/item'"),
    ({"headline": "nobody"}, "`headline` is 'nobody' but must be one of the peers other."),
])
def test_rows_that_are_refused(made, changed, text):
    with pytest.raises(ValueError, match=text):
        rows.load(made()).row(**changed)


def test_a_limit_that_is_stated_is_not_measured(made):
    line, = measured(made("""
        del Ours.bound


        def stated(made=row):
            return made(limit=0.125)


        row = stated
    """))
    assert line["limit"] == 0.125


def test_rows_are_found_by_their_file_names_in_order(tmp_path):
    for name in ("m10_b.py", "m2_a.py", "m1b_semi.py", "m1_hard.py", "p1_c.py", "run.py", "m3.py", "m4_x.txt"):
        (tmp_path / name).write_text("")
    found = rows.files(tmp_path)
    assert list(found) == ["M1", "M1b", "M2", "M10", "P1"] and found["M1b"].name == "m1b_semi.py"


@pytest.mark.parametrize("flags, text", [
    (["--name=M0"], "`--name` is `M0` but must be one of the rows M3, M8, P2,"),
    ([], "give either --name=NAME or --all; the rows are M3, M8,"),
    (["--name=M8", "--all"], "give either --name=NAME or --all"),
    (["--name=M8", "--threads=0"], "`--threads` is `0` but must be"), (["M8"], "`M8` is not a flag"),
])
def test_what_is_typed_wrongly_is_one_sentence(capsys, flags, text):
    code, out, error = run_here(run, capsys, *flags)
    assert (code, out, error.count("\n")) == (1, "", 1) and error.startswith(f"error: {text}"), error


def test_all_goes_on_after_a_row_that_fails(made, capsys, monkeypatch):
    paths = {"X1": made("Other.call = lambda self: os._exit(7)"), "X2": made(name="x2_made.py")}
    monkeypatch.setattr(rows, "files", lambda: paths)
    code, out, error = run_here(run, capsys, "--all", "--rounds=1")
    assert code == 1 and [json.loads(line)["name"] for line in out.splitlines()] == ["X2"]
    assert [line for line in error.splitlines() if line.startswith("error: `other` of x1_made.py ended with code 7")]


def test_frames_carry_arrays_and_nothing_else():
    stream, arrays = io.BytesIO(), {"a": np.arange(4, dtype=np.int16), "text": np.array("é"), "none": np.zeros((0, 3))}
    worker._send(stream, arrays)
    worker._send(stream, {})
    stream.seek(0)
    received = worker._receive(stream)
    assert list(received) == list(arrays)
    for name, values in arrays.items():
        np.testing.assert_array_equal(received[name], values, strict=True)
    assert worker._receive(stream) == {}
    with pytest.raises(EOFError):
        worker._receive(stream)
    stream = io.BytesIO()
    worker._send(stream, {"object": np.array([{}], object)})
    stream.seek(0)
    with pytest.raises(ValueError, match="pickle"):
        worker._receive(stream)
