"""Points in small clouds around a circle: the test of whether a generator finds all of several modes."""

import functools
import math

import numpy as np

from tfrecords import schema


class RingSource:
    """`modes` Gaussian clouds of equal size, evenly around a circle, each point as an image of 1 x 1 pixel and 2 bands.

    point = radius (cos a, sin a) + deviation n,   a = 2 pi k / modes,   n ~ N(0, 1);  label = k

    Args:    modes: K >= 2.  points: of each.  radius: of the circle.  deviation: of a cloud.  seed: of the points.
    Raises:  ValueError for a number out of range, or clouds that touch.
    Source:  Metz et al., ICLR 2017, arXiv:1611.02163, section 3.1 (8 modes, radius 2, deviation 0.02).
    """

    def __init__(self, modes=8, points=500, radius=2.0, deviation=0.02, seed=0):
        if modes < 2 or points < 10 or not deviation > 0 or not 0 <= seed < 2 ** 31:
            raise ValueError(f"ring(modes={modes}, points={points}, deviation={deviation}, seed={seed}) needs 2 modes "
                             "or more, 10 points or more of each, a deviation above 0 and a seed of at least 0.")
        if radius * math.sin(math.pi / modes) < 5 * deviation:
            raise ValueError(f"`deviation` is {deviation} but the {modes} clouds on a circle of radius {radius} would "
                             f"touch; use at most {radius * math.sin(math.pi / modes) / 5:.3g}.")
        self.modes, self.points = modes, points
        random = np.random.default_rng([seed, 31])
        angles = 2 * np.pi * np.arange(modes) / modes
        centres = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        drawn = centres[:, None] + deviation * random.normal(size=(modes, points, 2))
        self._drawn = drawn.astype(np.float32)
        self.description = {"source": "ring", "synthetic": True, "modes": modes, "points": points, "radius": radius,
                            "deviation": deviation, "seed": seed}

    def __len__(self):
        return self.modes * self.points

    def __iter__(self):
        for point in range(self.points):
            for mode in range(self.modes):
                yield schema.Item(f"ring/{mode}/{point}.npy", functools.partial(self._image, mode, point),
                                  {"label": mode}, stamp="1")

    def _image(self, mode, point):
        return self._drawn[mode, point][None, None]
