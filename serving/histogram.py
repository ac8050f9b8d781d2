"""Numbers counted by size: cheaper than those of a metrics library, as every request is counted several times."""

import bisect


class Histogram:
    """How many numbers lie up to each edge, and their sum. Not safe by itself: the owner has the lock.

    Args:    edges: rising; a bucket holds what is above the edge before and not above its own, the last one the rest.
    """

    __slots__ = ("edges", "buckets", "sum")

    def __init__(self, edges):
        self.edges, self.buckets, self.sum = edges, [0] * (len(edges) + 1), 0.0

    def add(self, value):
        """A number; NaN counts as infinity, and neither adds to the sum."""
        if value - value == 0:
            self.buckets[bisect.bisect_left(self.edges, value)] += 1
            self.sum += value
        else:
            self.buckets[0 if value < 0 else -1] += 1

    def copy(self):
        found = Histogram.__new__(Histogram)
        found.edges, found.buckets, found.sum = self.edges, self.buckets.copy(), self.sum
        return found
