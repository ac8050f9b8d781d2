"""What every source keeps to."""

import json
import pickle
from unittest import mock

import numpy as np

from tfrecords import schema
from tfrecords.files import Files


def check(source):
    """Asserts the contract of sources and returns the items."""
    read, early = Files.read, []

    def noted(files, path):
        early.append(path)
        return read(files, path)

    with mock.patch.object(Files, "read", noted):
        items = list(source)
    assert not early, "read while iterating"
    assert len(source) == len(items) > 0
    assert json.loads(json.dumps(source.description)) == source.description and source.description["source"]
    assert isinstance(getattr(source, "ignored", 0), int)
    assert len({item.path for item in items}) == len(items)
    assert all(isinstance(item.stamp, str) and item.stamp for item in items)
    for item in items:
        schema.settle(item.columns)
    for one, two, same, fold in getattr(source, "pairs", ()):
        assert {one, two} <= {item.path for item in items} and same in (0, 1) and fold >= -1
    rebuilt = pickle.loads(pickle.dumps(source))
    assert rebuilt.description == source.description and len(rebuilt) == len(items)
    others = list(rebuilt)
    assert facts(items) == facts(source) == facts(others)
    for one, two in zip(items, others):
        np.testing.assert_array_equal(one.read(), two.read())
        if one.mask:
            np.testing.assert_array_equal(one.mask(), two.mask())
    return items


def facts(items):
    return [(item.path, item.columns, item.stamp, bool(item.mask)) for item in items]


def made(root, names):
    """Files that hold their own name; {name: content} for others."""
    contents = names if isinstance(names, dict) else dict.fromkeys(names)
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes((name if content is None else content).encode())
    return root
