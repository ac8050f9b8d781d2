"""Random crop of random area and aspect, resized."""

import math

import tensorflow as tf

from tfrecords.augment._resample import resample, sides, windows

TRIES = 10


class CropResizeAugment:
    """A random window of each image, resized to one size.

    The window's area is uniform in `area`, its aspect (width / height, beside that of the result) log-uniform in
    `ratio`; the pair is drawn again until the window fits, ten times at most, then it is the largest that fits with an
    aspect in `ratio`. The window is not rounded to pixels. Resizing is bilinear; where the window has more pixels than
    the result it is antialiased (a triangle as wide as two pixels of the result), as in Pillow.

    y = R X C',   R_ij ~ max(0, 1 - |p_i - (j + 1/2)| / s), each row summing to 1,
    p_i = start + (i + 1/2) extent / h,   s = max(1, extent / h)

    Args:    area: (smallest, largest) share of the image, in (0, 1].  ratio: (smallest, largest) aspect, > 0.
             size: of the result, pixels, or (height, width); 0 = that of the image.
             flip: share of the windows that are mirrored left to right on the way, in [0, 1].
    Call:    images [b,H,W,C] in [0, 1], seed [2] int32, strength in [0, 1] shrinks all ranges towards the full image.
             `boxes(heights, widths, seed, strength, result)` gives windows of stored images (`data.crop`);
             `views(images, seed, strength, count)` gives `count` windows of each image.
    Returns: [b,h,w,C] in [0, 1]; the input at strength 0 (resized where `size` differs).
    Raises:  ValueError for an area outside (0, 1], an aspect <= 0, a range that falls, a size below 0 or a flip outside
             [0, 1].
    Source:  Szegedy et al., CVPR 2015, arXiv:1409.4842, section 6; the law is torchvision's.
    Differs: pixels just outside the window take part in the interpolation at its border, as in Pillow's `box`.
    """

    def __init__(self, area=(0.08, 1.0), ratio=(3 / 4, 4 / 3), size=0, flip=0.0):
        if not 0 < area[0] <= area[1] <= 1 or not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f"crop_resize(area={tuple(area)}, ratio={tuple(ratio)}) needs 0 < smallest <= largest, "
                             "and areas up to 1.")
        self.size = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
        if len(self.size) != 2 or min(self.size) < 0 or min(self.size) == 0 < max(self.size):
            raise ValueError(f"`size` is {size} but must be pixels, (height, width), or 0 for that of the image.")
        if not 0 <= flip <= 1:
            raise ValueError(f"`flip` is {flip} but must lie in [0, 1].")
        self.area, self.ratio, self.flip = area, ratio, flip

    def __call__(self, images, seed, strength=1.0):
        return tf.clip_by_value(self.views(images, seed, strength, 1), 0.0, 1.0)

    def views(self, images, seed, strength, count):
        """[b count,h,w,C]: the windows of an image stand one after the other; not clipped, for a jitter that does."""
        height, width, _ = sides(images)
        result = self.size if self.size[0] else (height, width)
        start, extent, mirrored = self._drawn([height, width], result, tf.shape(images)[0] * count, seed, strength)
        left, across = start[:, 1], extent[:, 1]
        left, across = tf.where(mirrored, left + across, left), tf.where(mirrored, -across, across)
        rows = tf.reshape(windows(start[:, 0], extent[:, 0], height, result[0]), [-1, count, result[0], height])
        columns = tf.reshape(windows(left, across, width, result[1]), [-1, count, result[1], width])
        return resample(images, rows, columns)

    def boxes(self, heights, widths, seed, strength=1.0, result=(1, 1)):
        """Windows of images of different sizes, rounded to pixels, for who cuts them before anything is resized.

        Args:    heights, widths: int32 [n] of the images.  result: height and width that the windows are brought to,
                 where `size` does not say it.
        Returns: int32 [n, 4]: y, x, height, width; inside the image; a negative width = mirrored.
        """
        whole = tf.stack([heights, widths], axis=1)
        result = self.size if self.size[0] else result
        start, extent, mirrored = self._drawn([heights[:, None], widths[:, None]], result, tf.size(heights), seed,
                                              strength)
        extent = tf.clip_by_value(tf.cast(tf.round(extent), tf.int32), 1, whole)
        start = tf.minimum(tf.cast(tf.round(start), tf.int32), whole - extent)
        height, width = tf.unstack(extent, axis=1)
        return tf.stack([start[:, 0], start[:, 1], height, tf.where(mirrored, -width, width)], axis=1)

    def _drawn(self, whole, result, count, seed, strength):
        """(start [n, 2], extent [n, 2], mirrored [n]) of n windows.

        Args:    whole: height and width of all images, or [n, 1] of each.  result: of the results.
        """
        height, width, *result = (tf.cast(side, tf.float32) for side in (*whole, *result))
        draws = tf.random.stateless_uniform([count, 2 * TRIES + 3], seed)
        low, high = (1.0 - strength * (1.0 - area) for area in self.area)
        root = tf.sqrt(low + (high - low) * draws[:, :TRIES])
        # Logarithm of the aspect beside that of the image: 0 = the whole image.
        low, high = (math.log(ratio) + tf.math.log(result[1] * height / result[0] / width) for ratio in self.ratio)
        stretch = tf.exp(0.5 * strength * (low + (high - low) * draws[:, TRIES:2 * TRIES]))
        shares = tf.stack([root / stretch, root * stretch], axis=2)         # of the height and of the width
        nearest = tf.exp(strength * tf.minimum(tf.maximum(low, 0.0), high))
        largest = tf.minimum(tf.stack([1.0 / nearest, nearest], axis=-1), 1.0)
        shares = tf.concat([shares, tf.zeros_like(shares[:, :1]) + largest], axis=1)
        fits = tf.reduce_all(shares <= 1.0, axis=2)
        whole = tf.reshape(tf.stack([height, width], axis=-1), [-1, 2])
        extent = tf.gather(shares, tf.argmax(tf.cast(fits, tf.int32), axis=1), batch_dims=1) * whole
        return (whole - extent) * draws[:, -3:-1], extent, draws[:, -1] < self.flip * strength
