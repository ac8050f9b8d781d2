"""Every sampler in the folder: shape, dtype, which rows come, a function of seed and epoch, constant steps."""

import importlib
import inspect
import pkgutil

import numpy as np
import pytest

from tfrecords import samplers
from tfrecords.batch import Table

OPTIONS = {"episodes": {"way": 3, "shot": 1, "query": 1}, "mixed": {"unlabelled": 2},
           "leave_one_source_out": {"out": "web"}}
WITHOUT_LABEL = {"shuffle", "views", "cases", "mixed", "listed_pairs"}      # as their docstrings say
NAMES = sorted(module.name for module in pkgutil.iter_modules(samplers.__path__) if not module.name.startswith("_"))
BATCH = 12


def sampler(name, batch=BATCH):
    module = importlib.import_module(f"tfrecords.samplers.{name}")
    (found,) = [value for key, value in vars(module).items() if inspect.isclass(value)
                and value.__module__ == module.__name__ and not key.startswith("_")]
    assert found.__name__ == name.title().replace("_", "") + "Sampler"
    return found(batch=batch, **OPTIONS.get(name, {}))


def made(count=200, eligible=0.7, seed=0):
    """Rows of 20 labels, some of them without, of 40 cases and 4 sources; a part of all rows is eligible."""
    random = np.random.default_rng(seed)
    labels = np.where(random.random(count) < 0.2, -1, random.integers(0, 20, count))
    columns = {"case": random.integers(-1, 40, count), "source": random.integers(-1, 4, count)}
    names = {"case": [str(case) for case in range(40)], "source": ["lab", "field", "web", "phone"]}
    pairs = random.integers(0, count, 300), random.integers(0, count, 300), random.integers(0, 2, 300)
    rows = np.sort(random.permutation(count)[:int(eligible * count)])
    return Table(rows, labels, columns, names, pairs)


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def test_shape_dtype_and_rows(name):
    table, draw = made(), sampler(name)
    rows = draw(table, 0, 0)
    assert rows.dtype == np.int64 and rows.shape[1:] == (BATCH,) and len(rows) >= 1
    assert np.isin(rows, table.rows).all(), "only eligible rows"
    assert draw.group >= 1 and BATCH % draw.group == 0
    assert (table.labels[rows] < 0).any() == (name in WITHOUT_LABEL)


def test_a_function_of_seed_and_epoch_alone(name):
    table, draw = made(), sampler(name)
    expected = {(seed, epoch): draw(table, seed, epoch) for seed in (0, 1) for epoch in (0, 1, 2)}
    other = sampler(name)
    for (seed, epoch), rows in reversed(expected.items()):
        np.testing.assert_array_equal(other(table, seed, epoch), rows)
    # Other data in between change nothing.
    other(made(seed=9), 0, 0)
    np.testing.assert_array_equal(other(table, 1, 1), expected[1, 1])
    flat = [rows.tobytes() for rows in expected.values()]
    assert len(set(flat)) == len(flat), "another seed or epoch, other rows"


@pytest.mark.parametrize("count, batch", [(200, 12), (60, 12), (60, 60), (500, 24)])
def test_steps_are_constant_over_epochs(name, count, batch):
    table, draw = made(count, eligible=1.0), sampler(name, batch)
    assert len({draw(table, 3, epoch).shape for epoch in range(20)}) == 1


def test_the_table_is_not_changed(name):
    table = made()
    before = table.rows.copy(), table.labels.copy()
    sampler(name)(table, 0, 0)
    np.testing.assert_array_equal(table.rows, before[0])
    np.testing.assert_array_equal(table.labels, before[1])


def test_nothing_to_draw_from_is_one_sentence(name):
    empty = Table(np.zeros(0, np.int64), np.full(5, -1))
    with pytest.raises(ValueError, match=rf"^`{name}` (has|needs) [^\n]*\.$"):
        sampler(name)(empty, 0, 0)
