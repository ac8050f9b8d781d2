"""scikit-learn's bundled handwritten digits: real images without a download."""

import functools
import zlib

import numpy as np
from sklearn.datasets import load_digits

from tfrecords import schema


class DigitsSource:
    """1,797 grey images of 8 x 8 pixels; the label is the digit.

    Source:  Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI 1998, test part.
    Differs: the 17 grey levels are spread over 0..255.
    """

    def __init__(self):
        self.description = {"source": "digits"}
        bunch = load_digits()
        self._images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
        self._labels = bunch.target

    def __len__(self):
        return len(self._images)

    def __iter__(self):
        for i, label in enumerate(self._labels.tolist()):
            read = functools.partial(np.asarray, self._images[i])
            yield schema.Item(f"digits/{label}/{i}.png", read, {"label": label},
                              stamp=f"{zlib.crc32(self._images[i]):08x}")
