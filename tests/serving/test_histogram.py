"""What a bucket holds."""

import numpy as np
import pytest

from serving.histogram import Histogram


def test_buckets_are_those_of_numpy():
    values, edges = np.random.default_rng(0).normal(size=500), (-1.0, 0.0, 0.5, 2.0)
    histogram = Histogram(edges)
    for value in values.tolist():
        histogram.add(value)
    expected = np.bincount(np.searchsorted(edges, values), minlength=5)
    assert histogram.buckets == expected.tolist() and histogram.sum == pytest.approx(values.sum())


def test_an_edge_belongs_to_its_bucket():
    histogram = Histogram((1.0, 2.0))
    for value in (1.0, 2.0, 2.1):
        histogram.add(value)
    assert histogram.buckets == [1, 1, 1]


def test_what_is_no_finite_number():
    histogram = Histogram((0.0, 1.0))
    for value in (float("nan"), float("inf"), float("-inf"), 0.5):
        histogram.add(value)
    assert histogram.buckets == [1, 1, 2] and histogram.sum == 0.5


def test_a_copy_stays_as_it_was():
    histogram = Histogram((1.0, 2.0))
    histogram.add(1.5)
    before = histogram.copy()
    histogram.add(0.5)
    assert (before.buckets, before.sum) == ([0, 1, 0], 1.5) and histogram.buckets == [1, 1, 0]
