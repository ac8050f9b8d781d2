"""Restoring an image of any size in bounded memory: window by window, without seams."""

import tensorflow as tf

TILE = 96       # pixels of the small image, a side; with its surroundings what a network sees at once


def restore(image, scale, network, reach, tile=TILE):
    """One image, `scale` times as high and wide, by windows that overlap by what the network sees.

    Each window is the tile and `reach` pixels around it, moved inside the image where it would stick out, so that
    border pixels see the same border as in the whole image. Nothing beyond `reach` changes a pixel: what the windows
    give is what the whole image would, to round-off. Memory: one window's maps, and the result twice.

    Args:    image: float32 [h,w,C] in [0, 1].  scale: int32 scalar.
             network: windows [1,a,b,C] -> [1, a scale, b scale, C] in [0, 1].  reach: pixels.  tile: pixels.
    Returns: uint8 [h scale, w scale, C].
    """
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    channels = image.shape[2]

    def line(length):
        """(size of the windows, how many tiles)"""
        return tf.minimum(length, tile + 2 * reach), -(-length // tile)

    def place(number, window, length):
        """(first pixel of the window, first and last of the tile inside it)"""
        first = number * tile
        start = tf.clip_by_value(first - reach, 0, length - window)
        return start, first - start, tf.minimum(first + tile, length) - start
    (high, rows), (wide, columns) = line(height), line(width)

    def of_row(row):
        top, above, below = place(row, high, height)

        def step(column, found):
            left, before, behind = place(column, wide, width)
            window = image[top:top + high, left:left + wide]
            made = network(window[None])[0][above * scale:below * scale, before * scale:behind * scale]
            made = tf.cast(tf.round(tf.clip_by_value(made, 0.0, 1.0) * 255.0), tf.uint8)
            return column + 1, found.write(column, tf.transpose(made, [1, 0, 2]))     # they are joined by columns
        found = tf.TensorArray(tf.uint8, columns, infer_shape=False, element_shape=[None, None, channels])
        _, found = tf.while_loop(lambda column, _: column < columns, step, (0, found), parallel_iterations=1)
        return tf.transpose(found.concat(), [1, 0, 2])

    def step(row, found):
        return row + 1, found.write(row, of_row(row))
    found = tf.TensorArray(tf.uint8, rows, infer_shape=False, element_shape=[None, None, channels])
    _, found = tf.while_loop(lambda row, _: row < rows, step, (0, found), parallel_iterations=1)
    return tf.ensure_shape(found.concat(), [None, None, channels])


def flips(network, count):
    """A network that averages what it makes of an image and of its mirror images: self-ensemble.

    Args:    network: images [n,h,w,C] -> [n,H,W,C].  count: 1 (as it is), 2 (and left to right), 4 (and upside down),
             8 (and all of them with rows and columns exchanged).
    Raises:  ValueError for another count.
    Source:  Timofte, Rothe and Van Gool, CVPR 2016, arXiv:1511.02228, section 2.6.
    """
    if count not in (1, 2, 4, 8):
        raise ValueError(f"`ensemble` is {count} but must be 1, 2, 4 or 8.")
    ways = [(axes, turned) for turned in (False, True) for axes in ([], [2], [1], [1, 2])][:count]

    def averaged(images):
        found = _back(network(_changed(images, *ways[0])), *ways[0])
        for way in ways[1:]:
            with tf.control_dependencies([found]):      # one after the other: memory holds the maps of one
                found += _back(network(_changed(tf.identity(images), *way)), *way)
        return found / count
    return averaged if count > 1 else network


def _changed(images, axes, exchanged):
    images = tf.reverse(images, axes) if axes else images
    return tf.transpose(images, [0, 2, 1, 3]) if exchanged else images


def _back(images, axes, exchanged):
    images = tf.transpose(images, [0, 2, 1, 3]) if exchanged else images
    return tf.reverse(images, axes) if axes else images
