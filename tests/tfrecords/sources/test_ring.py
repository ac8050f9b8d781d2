import numpy as np
import pytest

from tests.tfrecords.sources.contract import check
from tfrecords.read import Records
from tfrecords.sources.ring import RingSource
from tfrecords.write import named_source, write


def points(source):
    """([n, 2], labels [n])"""
    items = list(source)
    return np.stack([item.read() for item in items]).reshape(-1, 2), np.array([item.columns["label"] for item in items])


def test_clouds_lie_evenly_around_the_circle():
    drawn, labels = points(RingSource(modes=5, points=400, radius=3.0, deviation=0.1, seed=2))
    assert len(drawn) == 2000 and np.bincount(labels).tolist() == [400] * 5
    for mode in range(5):
        own, angle = drawn[labels == mode], 2 * np.pi * mode / 5
        centre = 3 * np.array([np.cos(angle), np.sin(angle)])
        # 400 points: the error of a mean is 0.005, that of a deviation 0.0035.
        np.testing.assert_allclose(own.mean(axis=0), centre, atol=0.025)
        np.testing.assert_allclose(own.std(axis=0), 0.1, atol=0.018)
    assert abs(np.corrcoef((drawn - 3 * np.stack([np.cos(a := 2 * np.pi * labels / 5), np.sin(a)], 1)).T)[0, 1]) < 0.08


def test_the_published_ring_is_the_default():
    source = RingSource()
    assert len(source) == 8 * 500
    assert source.description == {"source": "ring", "synthetic": True, "modes": 8, "points": 500, "radius": 2.0,
                                  "deviation": 0.02, "seed": 0}


def test_it_keeps_to_the_contract_of_sources():
    items = check(RingSource(modes=3, points=10))
    assert len(items) == 30 and all(item.read().shape == (1, 1, 2) for item in items)
    assert all(item.read().dtype == np.float32 for item in items)


def test_classes_take_turns():
    """So that the first of the images, wherever they are cut, are of all classes."""
    _, labels = points(RingSource(modes=4, points=10))
    assert labels[:8].tolist() == [0, 1, 2, 3] * 2


def test_points_hang_on_the_seed_alone():
    one, two, other = (points(RingSource(points=20, seed=seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - other).max() > 1e-3
    np.testing.assert_allclose(one, other, atol=0.25)       # about the same circle


def test_it_is_written_as_numbers_of_two_bands(tmp_path):
    write([named_source("ring(modes=3, points=20, seed=4)")], tmp_path / "ring", shards=2)
    records = Records(tmp_path / "ring")
    manifest = records.manifest
    assert manifest["raw"] and manifest["channels"] == 2 and manifest["dtype"] == "float32" and records.synthetic
    assert manifest["sizes"]["minimum"] == manifest["sizes"]["maximum"] == [1, 1]
    assert manifest["names"]["label"] == ["0", "1", "2"]
    assert all(low < -1.5 and high > 1.5 for low, high in zip(manifest["scaling"]["low"][1:],
                                                             manifest["scaling"]["high"][1:]))


@pytest.mark.parametrize("words", [{"modes": 1}, {"points": 9}, {"deviation": 0.0}, {"deviation": -1.0},
                                   {"deviation": float("nan")}, {"seed": -1}, {"seed": 2 ** 31}])
def test_numbers_out_of_range_are_refused(words):
    name, value = next(iter(words.items()))
    with pytest.raises(ValueError, match=rf"{name}={value}.* needs 2 modes or more, 10 points or more of each, a dev"):
        RingSource(**words)


@pytest.mark.parametrize("words, most", [({"deviation": 0.2}, "0.153"), ({"modes": 80}, "0.0157"),
                                         ({"radius": 0.1}, "0.00765")])
def test_clouds_that_touch_are_refused(words, most):
    with pytest.raises(ValueError, match=rf"`deviation` is .* would touch; use at most {most}\."):
        RingSource(**words)
    RingSource(**{**words, "deviation": float(most) * 0.99})
