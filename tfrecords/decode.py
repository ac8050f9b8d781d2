"""Encoded images to tensors: the one way for training, evaluation and serving."""

import tensorflow as tf

MAX_PIXELS = 50_000_000

_HEADER = 32                                # bytes that hold magic and size of PNG, GIF and BMP
_LUMA = (0.299, 0.587, 0.114)               # ITU-R BT.601, as JPEG uses
_GIF_BLOCK, _GIF_EXTENSION, _GIF_PIXELS, _GIF_DONE, _GIF_BROKEN = range(5)


class Decoder:
    """Encoded images, or images as numbers, to float32 [H, W, C] in [0, 1].

    pixel = clip(resize(channels(decoded)) / 255, 0, 1), the resize bilinear with antialias and left out where
    the size fits already. Every method is made of stock TensorFlow ops, holds no variable and works eagerly,
    in a graph and in a SavedModel. Before anything is decoded the size is read from the header and bounded by
    MAX_PIXELS, in the graph, so that a model server is protected as well.

    Args:    size: pixels, one number for height = width, or (H, W).
             channels: 1 (luma of colour images) or 3 (grey images repeated); alpha is dropped.
             fit: "stretch" to the size, or "pad": keep the aspect and fill up, centred, with the image's own
             mean per channel (zeros would show a network the original's shape as a black frame).
    Raises:  ValueError for a size below 1 or above MAX_PIXELS, other channels, another fit.
    """

    def __init__(self, size, channels, fit="stretch"):
        size = (size, size) if isinstance(size, int) else tuple(int(side) for side in size)
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

    def images(self, data):
        """Encoded images: string [n] -> float32 [n, H, W, C]; n may be 0."""
        return tf.map_fn(self.image, data, fn_output_signature=tf.TensorSpec((*self.size, self.channels), tf.float32))

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
    data = tf.convert_to_tensor(data, tf.string)
    head = tf.strings.substr(tf.strings.join([tf.strings.substr(data, 0, _HEADER), b"\0" * _HEADER]), 0, _HEADER)
    head = tf.ensure_shape(tf.cast(tf.io.decode_raw(head, tf.uint8), tf.int64), [_HEADER])

    def begins(magic):
        return tf.reduce_all(tf.equal(head[:len(magic)], list(magic)))

    # The same magic bytes by which decode_image chooses its decoder.
    png, jpeg, gif, bmp = (begins(magic) for magic in (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM"))
    known = tf.debugging.Assert(
        png | jpeg | gif | bmp, ["the bytes are no image of a known format; send PNG, JPEG, GIF or BMP"])
    with tf.control_dependencies(_present(known)):
        data = tf.identity(data)
    png_size = tf.stack([_number(head[20:24], big=True), _number(head[16:20], big=True)])
    bmp_size = tf.abs(tf.stack([_signed(_number(head[22:26])), _signed(_number(head[18:22]))]))
    size = tf.where(png, png_size, bmp_size)
    size = tf.cond(jpeg, lambda: tf.io.extract_jpeg_shape(data, tf.int64)[:2], lambda: size)
    data, size = tf.cond(gif, lambda: _first_frame(data, head), lambda: (data, size))
    height, width = size[0], size[1]
    # Each side is bounded first: the product of two 32-bit sides could overflow.
    fits = (tf.reduce_all((size >= 1) & (size <= MAX_PIXELS))
            & (tf.minimum(height, MAX_PIXELS) * tf.minimum(width, MAX_PIXELS) <= MAX_PIXELS))
    bounded = tf.debugging.Assert(fits, [tf.strings.format(
        "the image claims {} x {} pixels (height x width) but must have at least 1 x 1 and at most "
        f"{MAX_PIXELS} pixels; send a smaller one", (height, width))])
    with tf.control_dependencies(_present(bounded)):
        data = tf.identity(data)
    return tf.ensure_shape(tf.io.decode_image(data, channels=0, expand_animations=False), [None, None, None])


def _present(assertion):
    """Eager assertions have raised already and leave nothing to depend on."""
    return [] if assertion is None else [assertion]


def _number(values, big=False):
    """2 or 4 bytes as an unsigned number."""
    places = [256 ** place for place in range(values.shape[0])]
    return tf.reduce_sum(values * (places[::-1] if big else places))


def _signed(value):
    return tf.where(value >= 2 ** 31, value - 2 ** 32, value)


def _first_frame(data, head):
    """A GIF cut behind its first frame, and the larger of canvas and frame as [height, width].

    The decoder reads every frame, each with a size of its own, before it gives the first: only the frame whose
    size was checked may reach it.
    """
    values = tf.cast(tf.io.decode_raw(data, tf.uint8), tf.int32)
    total = tf.size(values)
    values = tf.pad(values, [[0, 16]])

    def table(flags):
        return tf.where(flags >= 128, 3 * tf.bitwise.left_shift(2, flags % 8), 0)

    def step(place, stage, size):
        here = tf.ensure_shape(values[place:place + 10], [10])
        first = here[0]
        inside = (stage == _GIF_EXTENSION) | (stage == _GIF_PIXELS)
        image = ~inside & (first == 0x2C)
        extension = ~inside & (first == 0x21)
        sides = tf.cast(here[5:9], tf.int64)
        size = tf.where(image, tf.stack([_number(sides[2:]), _number(sides[:2])]), size)
        # An image is followed by 9 bytes, its table and one byte of code size; an extension by its kind.
        place += tf.where(inside, first + 1, tf.where(image, 11 + table(here[9]), tf.where(extension, 2, 0)))
        begun = tf.where(image, _GIF_PIXELS, tf.where(extension, _GIF_EXTENSION, _GIF_BROKEN))
        ended = tf.where(stage == _GIF_PIXELS, _GIF_DONE, _GIF_BLOCK)
        stage = tf.where(inside, tf.where(first == 0, ended, stage), begun)
        return place, stage, size

    canvas = tf.stack([_number(head[8:10]), _number(head[6:8])])
    start = 13 + table(tf.cast(head[10], tf.int32))
    place, _, frame = tf.while_loop(
        lambda place, stage, size: (place < total) & (stage < _GIF_DONE), step,
        (start, tf.constant(_GIF_BLOCK), tf.zeros([2], tf.int64)), parallel_iterations=1)
    cut = tf.strings.join([tf.strings.substr(data, 0, tf.minimum(place, total)), b";"])
    # A GIF without a frame keeps the size 0 and is refused by the caller's check.
    return cut, tf.where(tf.reduce_min(frame) > 0, tf.maximum(canvas, frame), 0)
