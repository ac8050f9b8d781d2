"""scikit-learn's bundled handwritten digits: real images without a download."""

import functools

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from tfrecords import schema


class DigitsSource:
    """1,797 grey images of 8 x 8 pixels, as PNG; the label is the digit.

    Source:  Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI 1998, test part.
    Differs: the 17 grey levels are spread over 0..255.
    """

    def __init__(self):
        self.description = {"source": "digits"}
        bunch = load_digits()
        self._images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
        self._labels = bunch.target

    def __len__(self):
        return len(self._images)

    def __iter__(self):
        for i, (image, label) in enumerate(zip(self._images, self._labels)):
            read = functools.partial(_png, image)
            yield schema.Item(f"digits/{label}/{i}.png", read, {"label": int(label)})


def _png(image):
    return tf.io.encode_png(image).numpy()
