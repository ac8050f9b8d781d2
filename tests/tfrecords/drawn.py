"""Images made in a test, as a source."""

import functools

import numpy as np

from tfrecords import schema


class Drawn:
    """A source of given images (uint8 [n,h,w] or [n,h,w,c], or a list of such) with columns [n] of dictionaries.

    Args:    facts: what a manifest keeps of where they come from.
    """

    def __init__(self, images, columns=None, **facts):
        self.images, self.columns = images, columns or [{}] * len(images)
        self.description = {"source": "drawn", **facts}

    def __len__(self):
        return len(self.images)

    def __iter__(self):
        for place, (image, columns) in enumerate(zip(self.images, self.columns)):
            yield schema.Item(f"{place:04d}.png", functools.partial(np.asarray, image), columns, stamp="1")
