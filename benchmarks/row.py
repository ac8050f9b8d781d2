"""What a row says: the work, ours and the peers, what must agree, and how a figure comes of seconds."""

import dataclasses
import importlib.util
import pathlib
import re
import sys
from collections.abc import Callable

FOLDER = pathlib.Path(__file__).resolve().parent
_FILE = re.compile(r"([a-z]\d+[a-z]?)_\w+\.py")
_UNIT = re.compile(r"(?:(?P<rate>\w+)/)?(?P<cpu>cpu-)?(?P<time>s|ms|us)(?:/(?P<each>\w+))?")
_FACTORS = {"s": 1.0, "ms": 1e3, "us": 1e6}


@dataclasses.dataclass(frozen=True)
class Peer:
    """The tool of others.

    Args:    side: class, as `Row.ours`.
             tolerance: by how much its results may differ from ours.
             own: it lives in the suite's own environment, not in one of the peers'.
             lock: which file here pins its environment: requirements.txt .venv-peers, requirements-NAME.txt
             .venv-peers-NAME.
    """

    side: type
    tolerance: float
    own: bool = False
    lock: str = "requirements.txt"


@dataclasses.dataclass(frozen=True)
class Row:
    """One measurement.

    A row's file is called `<name>_<words>.py`; its `row()` gives one of these, and `row(**TINY)` one of so little work
    that a test takes it. A side is a class, made in a process of its own from `inputs` = {name: array}. Its `call()`
    does the timed work and returns how many items it did, or (items, seconds) where another time counts than that of
    the whole call, such as the median of its requests; its `result()`, which is not timed, returns {name: array} of
    what must agree. The file is loaded in both environments, so the sides import their tools inside their methods.

    Args:    work: what is measured, in words, sizes included.
             unit: of the figures: "ms", "us/sample" or "views/s"; "cpu-" before the time counts the processor seconds
             of all threads, otherwise it is the clock.
             inputs: () -> {name: array}, given to both sides.
             ours: the suite's side.  peers: {name: Peer}.  headline: the peer the row's goal is stated against.
             equal: (inputs, our result, the peer's) -> the largest difference of what must agree.
             limit: the figure that nothing could beat; None = it is measured: `ours.bound()` does the least work there
             is and returns the items, as `call()` does.
    Raises:  ValueError for another unit, or a headline that is no peer.
    """

    work: str
    unit: str
    inputs: Callable
    ours: type
    peers: dict
    headline: str
    equal: Callable
    limit: float | None = None

    def __post_init__(self):
        found = _UNIT.fullmatch(self.unit)
        if not found or found["rate"] and (found["time"] != "s" or found["each"]):
            raise ValueError(f"`unit` is {self.unit!r} but must be like ms, us/sample, cpu-ms or views/cpu-s.")
        if self.headline not in self.peers:
            raise ValueError(f"`headline` is {self.headline!r} but must be one of the peers {', '.join(self.peers)}.")

    @property
    def is_rate(self):
        return bool(_UNIT.fullmatch(self.unit)["rate"])

    def figure(self, timing):
        """`Worker.timed`'s answer in the row's unit."""
        found = _UNIT.fullmatch(self.unit)
        seconds, items = timing["cpu" if found["cpu"] else "wall"], timing["items"]
        if found["rate"]:
            return items / seconds
        return seconds * _FACTORS[found["time"]] / (items if found["each"] else 1)

    def ratio(self, ours, peer):
        """How much better ours is: > 1 is faster, of times and of rates."""
        return ours / peer if self.is_rate else peer / ours


def files(folder=FOLDER):
    """{name: path} of the rows in a folder, M2 before M10."""
    found = {match[1].capitalize(): path for path in folder.glob("*.py") if (match := _FILE.fullmatch(path.name))}
    order = sorted(found, key=lambda name: (name[0], int(re.findall(r"\d+", name)[0]), name))
    return {name: found[name] for name in order}


def load(path):
    """The module of a row's file."""
    spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
