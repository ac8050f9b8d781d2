"""Both sides of the rows that measure random augmentations of small images, and what must agree there."""

import numpy as np

from benchmarks.pictures import textures

SIZE = 32
_BATCH = 512        # images that go through a graph at once, or make one call of a tool that goes image by image


def inputs(images):
    """`inputs` of a row: () -> {"images": uint8 [images,32,32,3]}."""
    return lambda: {"images": textures(images, SIZE, SIZE)}


class Batched:
    """Batches through a graph, from bytes to what the augmentation gives.

    Args:    arrays: the inputs.
             augment: (images [b,H,W,3] in [0, 1], seed [2]) -> [..., 3], or a tuple of these.
             bound: the same for the least work there is.
             batches: of a timed call.
             views: counted for each image.
    """

    def __init__(self, arrays, augment, bound=None, batches=8, views=1):
        import tensorflow as tf

        images = arrays["images"]
        self.batches = [tf.constant(images[i:i + _BATCH]) for i in range(0, len(images), _BATCH)]
        self.timed, self.views, self.calls = self.batches[:batches], views, 0
        signature = [tf.TensorSpec([None, *images.shape[1:]], tf.uint8), tf.TensorSpec([2], tf.int32)]

        def graph(function):
            return tf.function(lambda images, seed: function(tf.cast(images, tf.float32) / 255.0, seed), signature)

        self.run, self.least = graph(augment), graph(bound)

    def _each(self, function, batches):
        for batch in batches:
            self.calls += 1
            yield function(batch, np.int32([0, self.calls]))

    def _items(self, function):
        for _ in self._each(function, self.timed):
            pass
        return self.views * sum(len(batch) for batch in self.timed)

    def call(self):
        return self._items(self.run)

    def bound(self):
        return self._items(self.least)

    def result(self):
        given = self._each(self.run, self.batches)
        return moments(part.numpy() for parts in given for part in (parts if isinstance(parts, tuple) else (parts,)))


class OneByOne:
    """Image by image, from PIL images in memory.

    Args:    arrays: the inputs.  transform: PIL image -> list of tensors [3,h,w] in [0, 1].
             images: of a timed call.  views: counted for each image.
    """

    def __init__(self, arrays, transform, images=_BATCH, views=1):
        from PIL import Image

        self.images = [Image.fromarray(image) for image in arrays["images"]]
        self.transform, self.timed, self.views = transform, self.images[:images], views

    def call(self):
        for image in self.timed:
            self.transform(image)
        return self.views * len(self.timed)

    def result(self):
        return moments(view.numpy().transpose(1, 2, 0) for image in self.images for view in self.transform(image))


def moments(batches):
    """Mean and standard deviation of each channel over images [..., h, w, 3] in [0, 1].

    Returns: {"mean", "deviation"}, [sizes, 3]; images of different height count apart, the smallest first.
    """
    sums = {}
    for batch in batches:
        values = np.asarray(batch, np.float64)
        flat = values.reshape(-1, 3)
        found = sums.setdefault(values.shape[-3], np.zeros((3, 3)))
        found += [np.full(3, len(flat)), flat.sum(0), (flat ** 2).sum(0)]
    count, total, squares = np.stack([sums[height] for height in sorted(sums)], axis=1)
    return {"mean": total / count, "deviation": np.sqrt(squares / count - (total / count) ** 2)}


def moments_differ(arrays, ours, peer):
    """`equal` of a row: the largest difference of a mean or a deviation."""
    del arrays
    return max(np.abs(ours[name] - peer[name]).max() for name in ours)
