"""Encoded images to tensors: the one way for training, evaluation and serving."""

import numbers

import numpy as np
import tensorflow as tf

MAX_PIXELS = 50_000_000                     # of one image
MAX_PIXELS_TOGETHER = 4 * MAX_PIXELS        # of the images of one call

_HEADER = 32                                # bytes that hold magic and size of PNG, GIF and BMP
_LUMA = (0.299, 0.587, 0.114)               # ITU-R BT.601, as JPEG uses
_PLAIN, _JPEG, _GIF = range(3)              # how an image is decoded
_WINDOW = 1024                              # bytes of a GIF that are walked through at once


class Decoder:
    """Encoded images, or images as numbers, to float32 [H, W, C] in [0, 1].

    pixel = clip(resize(channels(decoded)) / 255, 0, 1), the resize bilinear with antialias and left out where
    the size fits already. Every method is made of stock TensorFlow ops, holds no variable and works eagerly,
    in a graph and in a SavedModel. Before an image is decoded its size is read from the header and bounded by
    MAX_PIXELS, and `images` bounds the sum of the sizes: both in the graph, so that they hold in a model
    server too. The time to find a size is at most proportional to the bytes, whatever they are.

    Args:    size: pixels, one number for height = width, or (H, W).
             channels: 1 (luma of colour images) or 3 (grey images repeated); alpha is dropped.
             fit: "stretch" to the size, or "pad": keep the aspect and fill up, centred, with the image's own
             mean per channel (zeros would show a network the original's shape as a black frame).
    Raises:  ValueError for a size below 1 or above MAX_PIXELS, other channels, another fit.
    """

    def __init__(self, size, channels, fit="stretch"):
        size = (size, size) if isinstance(size, numbers.Integral) else tuple(int(side) for side in size)
        if len(size) != 2 or min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
            raise ValueError(f"`size` is {size} but must be one or two sides of at least 1 pixel, "
                             f"{MAX_PIXELS:,} pixels together.")
        if channels not in (1, 3):
            raise ValueError(f"`channels` is {channels!r} but must be 1 (grey) or 3 (colour).")
        if fit not in ("stretch", "pad"):
            raise ValueError(f"`fit` is {fit!r} but must be \"stretch\" or \"pad\".")
        self.size, self.channels, self.fit = size, channels, fit

    def image(self, data):
        """One encoded image: string scalar -> float32 [H, W, C].

        Raises:  InvalidArgumentError (from the graph) for bytes that are no PNG, JPEG, GIF or BMP, that are
                 damaged, or whose header claims more than MAX_PIXELS pixels.
        """
        return self._fitted(self._wanted_channels(decode(data)))

    def images(self, data, most_pixels=MAX_PIXELS_TOGETHER):
        """Encoded images: string [n] -> float32 [n, H, W, C]; n may be 0.

        At most two are decoded at the same time, so that memory holds two images of their stored size and all
        of the wanted one.

        Args:    most_pixels: what the headers may claim together; None = no bound, for one's own data.
        Raises:  as `image` does; InvalidArgumentError for more pixels together.
        """
        data = tf.convert_to_tensor(data, tf.string)
        ways, sizes = _checked(data)

        def step(row, spent, found):
            one, pixels = _sized(data[row], ways[row], sizes[row])
            spent += pixels
            if most_pixels is not None:
                with _after(_bounded_together(spent, most_pixels)):
                    one = tf.identity(one)
            return row + 1, spent, found.write(row, self._fitted(self._wanted_channels(_pixels(one))))

        count = tf.size(data)
        found = tf.TensorArray(tf.float32, size=count, element_shape=(*self.size, self.channels))
        _, _, found = tf.while_loop(lambda row, spent, found: row < count, step,
                                    (0, tf.constant(0, tf.int64), found), parallel_iterations=2)
        return tf.ensure_shape(found.stack(), [*data.shape, *self.size, self.channels])

    def tensor(self, values):
        """Images as numbers in data units (0..255): float32 [n, h, w, c] -> float32 [n, H, W, C].

        An 8-bit image given this way equals the same image given as PNG.
        """
        values = tf.convert_to_tensor(values, tf.float32)
        return self._fitted(self._wanted_channels(values))

    def _wanted_channels(self, values):
        """[..., c] of 1, 2, 3 or 4 channels -> float32 [..., C]."""
        if self.channels == 3:
            def colour():
                return values[..., :3]

            def grey():
                return tf.repeat(values[..., :1], 3, axis=-1)
        else:
            def colour():
                return tf.reduce_sum(tf.cast(values[..., :3], tf.float32) * _LUMA, axis=-1, keepdims=True)

            def grey():
                return tf.cast(values[..., :1], tf.float32)
        known = values.shape[-1]
        if known is None:
            values = tf.cond(tf.shape(values)[-1] >= 3, colour, grey)
        else:
            values = colour() if known >= 3 else grey()
        return tf.ensure_shape(tf.cast(values, tf.float32), [*values.shape[:-1], self.channels])

    def _fitted(self, values):
        """float32 [..., h, w, C] in data units -> [..., H, W, C] in [0, 1]."""
        shape = tf.shape(values)[-3:-1]

        def resized():
            if self.fit == "pad":
                return self._padded(values, shape)
            return tf.image.resize(values, self.size, antialias=True)

        fitted = tf.cond(tf.reduce_all(shape == self.size), lambda: values, resized)
        fitted = tf.clip_by_value(fitted / 255.0, 0.0, 1.0)
        return tf.ensure_shape(fitted, [*values.shape[:-3], *self.size, self.channels])

    def _padded(self, values, shape):
        scale = tf.reduce_min(tf.constant(self.size, tf.float32) / tf.cast(shape, tf.float32))
        inner = tf.cast(tf.round(tf.cast(shape, tf.float32) * scale), tf.int32)
        inner = tf.clip_by_value(inner, 1, self.size)
        values = tf.image.resize(values, inner, antialias=True)
        mean = tf.reduce_mean(values, axis=(-3, -2), keepdims=True)
        before = (self.size - inner) // 2
        around = tf.stack([before, self.size - inner - before], axis=1)
        leading = values.shape.rank - 3
        around = tf.pad(around, [[leading, 1], [0, 0]])
        return tf.pad(values - mean, around) + mean


def decode(data):
    """One encoded image to its stored pixels; of an animation the first frame.

    Args:    data: string scalar; PNG, JPEG, GIF or BMP.
    Returns: uint8 [h, w, c] with c = 1, 2 (grey and alpha), 3 or 4.
    Raises:  InvalidArgumentError as in `Decoder.image`.
    """
    data = tf.convert_to_tensor(data, tf.string)[None]
    ways, sizes = _checked(data)
    return _pixels(_sized(data[0], ways[0], sizes[0])[0])


def _checked(data):
    """The way each image must be decoded, int32 [n]: _PLAIN, _JPEG or _GIF; the pixels, int64 [n], of _PLAIN.

    All headers together, as ops on single images cost more than decoding a small one.
    """
    heads = tf.io.decode_raw(data, tf.uint8, fixed_length=_HEADER)
    heads = tf.ensure_shape(tf.cast(heads, tf.int64), [None, _HEADER])

    def begins(magic):
        return tf.reduce_all(heads[:, :len(magic)] == list(magic), axis=1)

    # The same magic bytes by which decode_image chooses its decoder.
    png, jpeg, gif, bmp = (begins(magic) for magic in (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM"))
    known = tf.debugging.Assert(
        tf.reduce_all(png | jpeg | gif | bmp),
        ["the bytes are no image of a known format; send PNG, JPEG, GIF or BMP"])
    png_size = tf.stack([_number(heads[:, 20:24], big=True), _number(heads[:, 16:20], big=True)], axis=1)
    bmp_size = tf.stack([_number(heads[:, 22:26]), _number(heads[:, 18:22])], axis=1)
    # A bitmap from top to bottom has a negative height.
    bmp_size = tf.where(bmp_size >= 2 ** 31, 2 ** 32 - bmp_size, bmp_size)
    size = tf.where(png[:, None], png_size, tf.where(bmp[:, None], bmp_size, 1))
    with _after(known, _bounded(size)):
        return tf.where(jpeg, _JPEG, tf.where(gif, _GIF, _PLAIN)), tf.reduce_prod(size, axis=1)


def _sized(data, way, pixels):
    """One image as it may be decoded and its pixels; the sizes of JPEG and GIF are read and checked here."""
    def jpeg():
        size = tf.io.extract_jpeg_shape(data, tf.int64)[:2]
        with _after(_bounded(size[None])):
            return tf.identity(data), tf.reduce_prod(size)

    return tf.switch_case(way, [lambda: (tf.identity(data), tf.identity(pixels)), jpeg,
                                lambda: _first_frame(data)])


def _pixels(data):
    """Decodes one image that `_sized` gave."""
    return tf.ensure_shape(tf.io.decode_image(data, channels=0, expand_animations=False), [None, None, None])


def _bounded(sizes):
    """Asserts that all images [n, 2] (height, width) may be decoded; the message shows one that may not."""
    # The product is float: two 32-bit sides could overflow an integer.
    pixels = tf.cast(sizes[:, 0], tf.float64) * tf.cast(sizes[:, 1], tf.float64)
    bad = (tf.reduce_min(sizes, axis=1) < 1) | (pixels > MAX_PIXELS)
    first = tf.concat([tf.boolean_mask(sizes, bad), [[0, 0]]], axis=0)[0]
    return tf.debugging.Assert(~tf.reduce_any(bad), [tf.strings.format(
        "an image of {} x {} pixels (height x width) cannot be used: it must have at least 1 x 1 and at most "
        f"{MAX_PIXELS} pixels; send a smaller one", (first[0], first[1]))])


def _bounded_together(pixels, most):
    """Asserts that the images up to this one may be decoded in one call."""
    return tf.debugging.Assert(pixels <= most, [tf.strings.format(
        "the images have {} pixels together and more may follow, but one call decodes at most "
        f"{most}; send fewer or smaller ones at once", pixels)])


def _after(*assertions):
    """Control dependencies; eager assertions have raised already and leave nothing to depend on."""
    return tf.control_dependencies([assertion for assertion in assertions if assertion is not None])


def _number(values, big=False):
    """Bytes [..., k] as unsigned numbers [...]."""
    places = [256 ** place for place in range(values.shape[-1])]
    return tf.reduce_sum(values * (places[::-1] if big else places), axis=-1)


def _first_frame(data):
    """A GIF cut behind its first frame, when canvas and frame are small enough, and the larger one's pixels.

    The decoder reads every frame, each with a size of its own, before it gives the first: only the frame
    whose size was checked may reach it. A GIF is a chain of sub-blocks, of as little as 1 byte each, and a
    step of a graph's loop costs as much as thousands of additions. So the chains from all places of a window
    are followed together, by doubling: about 0.2 ms for each window up to the frame's end (0.2 s for 1 MB),
    whatever the sub-blocks.
    """
    values = tf.io.decode_raw(data, tf.uint8)
    total = tf.size(values)
    # The longest sub-block of a window ends so far behind it; a frame's header may begin there.
    wide = _WINDOW + 256
    values = tf.pad(values, [[0, wide + _HEADER]])
    at = np.arange(wide, dtype=np.int32)
    inside = at < _WINDOW

    def byte(place):
        return tf.cast(values[place], tf.int32)

    def table(flags):
        return tf.where(flags >= 128, 3 * tf.bitwise.left_shift(2, flags % 8), 0)

    def sides(place):
        four = tf.cast(tf.ensure_shape(values[place:place + 4], [4]), tf.int64)
        return tf.stack([_number(four[2:]), _number(four[:2])])

    def step(place, in_data, framed, ended, size):
        window = tf.cast(tf.ensure_shape(values[place:place + wide], [wide]), tf.int32)
        # Node i stands at a sub-block of data that begins at i, node wide + i at whatever begins there. Its
        # value is the next node; nodes behind the window, and a frame or the end, lead to themselves.
        data_next = tf.where(inside, tf.where(window == 0, wide + at + 1, at + window + 1), at)
        extension = inside & (window == 0x21) & ~framed
        node = tf.concat([data_next, tf.where(extension, at + 2, wide + at)], axis=0)
        for _ in range(_WINDOW.bit_length() - 1):       # no way through the window has more steps than bytes
            node = tf.gather(node, node)
        last = node[tf.where(in_data, 0, wide)]
        in_data, moved = last < wide, last % wide
        place += moved
        ended = ~in_data & (moved < _WINDOW)
        frame = ended & ~framed & (byte(place) == 0x2C)
        size = tf.where(frame, sides(place + 5), size)
        # A frame has 10 bytes, its colour table and the code size before its data.
        place += tf.where(frame, 11 + table(byte(place + 9)), 0)
        return place, in_data | frame, framed | frame, ended & ~frame, size

    place, _, _, _, size = tf.while_loop(
        lambda place, in_data, framed, ended, size: (place < total) & ~ended, step,
        (13 + table(byte(10)), tf.constant(False), tf.constant(False), tf.constant(False),
         tf.zeros([2], tf.int64)), parallel_iterations=1)
    # Without a frame the size is still 0 x 0, which is refused.
    sizes = tf.stack([sides(6), size])
    with _after(_bounded(sizes)):
        first = tf.strings.join([tf.strings.substr(data, 0, tf.minimum(place, total)), b";"])
        return first, tf.reduce_max(tf.reduce_prod(sizes, axis=1))
