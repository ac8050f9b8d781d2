"""S1e: S1 with 8 clients."""

import functools

from benchmarks import s1_serving

TINY = s1_serving.TINY
row = functools.partial(s1_serving.row, clients=8)
