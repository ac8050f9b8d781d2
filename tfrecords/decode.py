"""Encoded images to tensors: the one way for training, evaluation and serving."""

import copy
import numbers

import numpy as np
import tensorflow as tf

from tfrecords import align

MAX_PIXELS = 50_000_000                     # of one image
MAX_PIXELS_TOGETHER = 4 * MAX_PIXELS        # of the images of one call

_HEADER = 32                                # bytes that hold magic and size of PNG, GIF and BMP
_LUMA = (0.299, 0.587, 0.114)               # ITU-R BT.601, as JPEG uses
_PLAIN, _JPEG, _GIF = range(3)              # how an image is decoded
DCT = "INTEGER_ACCURATE"                   # equal to Pillow's; TensorFlow's own choice is off by 1 level on average
_JPEG_MAGIC = b"\xff\xd8\xff"
_COLOUR = 0.04                              # mean range over the channels from which on an image is in colour
_WINDOW = 1024                              # bytes of a GIF that are walked through at once


class Decoder:
    """Stored images, or images as numbers, to float32 [H, W, C] in [0, 1].

    pixel = clip((resize(channels(decoded)) - low) / (high - low), 0, 1), the resize bilinear with antialias and
    left out where the size fits already. Every method is made of stock TensorFlow ops, holds no variable and
    works eagerly, in a graph and in a SavedModel. Before an image is decoded its size is read from the header
    and bounded by MAX_PIXELS, and `images` bounds the sum of the sizes: both in the graph, so that they hold in
    a model server too. The time to find a size is at most proportional to the bytes, whatever they are.

    Args:    size: pixels, one number for height = width, or (H, W).
             channels: of encoded images 1 (luma of colour images) or 3 (grey images repeated), alpha is dropped;
             of raw ones the number of bands.
             fit: "stretch" to the size, or "pad": keep the aspect and fill up, centred, with the image's own
             mean per channel (zeros would show a network the original's shape as a black frame).
             dtype: "uint8", "uint16" (PNG of 16 bits, or raw) or "float32" (raw).
             raw: the bytes are those of `tfrecords.examine.stored`, not an encoded image.
             low, high: the values that become 0 and 1, one number or one a channel; default: those of uint8.
             aligned: side in pixels to which the images were aligned by landmarks when written, 0 = they were not.
    Raises:  ValueError as `height_and_width` does, for other channels, another fit or dtype, high <= low.
    """

    def __init__(self, size, channels, fit="stretch", dtype="uint8", raw=False, low=0.0, high=255.0, aligned=0):
        size = height_and_width(size)
        if channels < 1 or not raw and channels not in (1, 3):
            raise ValueError(f"`channels` is {channels!r} but must be 1 (grey) or 3 (colour).")
        if fit not in ("stretch", "pad"):
            raise ValueError(f"`fit` is {fit!r} but must be \"stretch\" or \"pad\".")
        if dtype not in (("uint8", "uint16", "float32") if raw else ("uint8", "uint16")):
            raise ValueError(f"`dtype` is {dtype!r} but must be uint8 or uint16, or float32 of raw images.")
        low, high = (np.broadcast_to(np.float32(value), (channels,)) for value in (low, high))
        if not (high > low).all():
            raise ValueError(f"`high` is {high.tolist()} but must be above `low`, {low.tolist()}, in every channel.")
        self.size, self.channels, self.fit, self.dtype, self.raw = size, channels, fit, dtype, raw
        self.low, self.high, self.aligned = low, high, aligned
        self.strict = self.same_channels = self.colourless = False

    @classmethod
    def of(cls, manifest, size, fit="stretch"):
        """The decoder of the images of a data folder."""
        scaling = manifest["scaling"]
        return cls(size, manifest["channels"], fit, manifest["dtype"], manifest["raw"], scaling["low"], scaling["high"],
                   manifest.get("aligned", 0))

    def exactly(self, channels=True):
        """This decoder for images of the very size and channels alone: others are refused instead of resized.

        For models that tell by single pixels, which resampling would blur.

        Args:    channels: False where images of grey and of colour were both trained on: then both are taken.
        """
        found = copy.copy(self)
        found.strict, found.same_channels = True, channels
        return found

    def without_colour(self):
        """This decoder, which refuses images in colour where it gives grey ones; grey stored as colour is taken.

        For models whose answer on the luma of a coloured image would be one on something never seen.
        """
        found = copy.copy(self)
        found.colourless = self.channels == 1 and not self.raw
        return found

    def image(self, data):
        """One stored image: string scalar -> float32 [H, W, C].

        Raises:  InvalidArgumentError (from the graph) for bytes that are no PNG, JPEG, GIF or BMP (of 16 bits: no
                 PNG), that are damaged, of another depth, or whose header claims more than MAX_PIXELS pixels.
        """
        return self._fitted(self.numbers(data))

    def whole(self, data):
        """One stored image as large as it is: string scalar -> float32 [h, w, C] in [0, 1].   Raises: as `image`."""
        return self._in_range(self.numbers(data))

    def numbers(self, data):
        """One stored image as large as it is, in data units: string scalar -> float32 [h, w, C]."""
        return self._unpacked(data) if self.raw else self._wanted_channels(decode(data, self.dtype))

    def images(self, data, most_pixels=MAX_PIXELS_TOGETHER, landmarks=None):
        """Stored images: string [n] -> float32 [n, H, W, C]; n may be 0.

        At most two are decoded at the same time, so that memory holds two images of their stored size and all
        of the wanted one.

        Args:    most_pixels: what the headers may claim together; None = no bound, for one's own data.
                 landmarks: float32 [n, 5, 2], x and y in pixels, by which each image is first aligned as the data
                 were when they were written.
        Raises:  as `image` does; InvalidArgumentError for more pixels together.
        """
        data = tf.convert_to_tensor(data, tf.string)
        ways, sizes = (None, None) if self.raw else _checked(data, self.dtype)

        def step(row, spent, found):
            if self.raw:
                return row + 1, spent, found.write(row, self.image(data[row]))
            one, pixels = _sized(data[row], ways[row], sizes[row])
            spent += pixels
            if most_pixels is not None:
                with _after(_bounded_together(spent, most_pixels)):
                    one = tf.identity(one)
            image = self._wanted_channels(_pixels(one, ways[row], self.dtype))
            if landmarks is not None:
                with _after(_inside(landmarks[row], tf.shape(image))):
                    image = align.align(image[None], landmarks[row][None], self.aligned)[0]
                image = tf.round(image)         # as stored pixels are
            image = self._fitted(image)
            return row + 1, spent, found.write(row, image)

        count = tf.size(data)
        found = tf.TensorArray(tf.float32, size=count, element_shape=(*self.size, self.channels))
        _, _, found = tf.while_loop(lambda row, spent, found: row < count, step,
                                    (0, tf.constant(0, tf.int64), found), parallel_iterations=2)
        return tf.ensure_shape(found.stack(), [*data.shape, *self.size, self.channels])

    def tensor(self, values):
        """Images as numbers in data units (of 8 bits 0..255): float32 [n, h, w, c] -> float32 [n, H, W, C].

        An 8-bit image given this way equals the same image given as PNG.
        """
        values = tf.convert_to_tensor(values, tf.float32)
        return self._fitted(values if self.raw else self._wanted_channels(values))

    def crop(self, data, box):
        """A part of one stored image, as large as it is stored, to the size: string scalar -> float32 [H, W, C].

        Of a JPEG only that part is decoded. The fit does not matter: the part is stretched to the size, with
        antialias where it is larger.

        Args:    box: int32 [4]: y, x, height, width in pixels, inside the image; a negative width mirrors.
        Raises:  as `image` does.
        """
        box = tf.ensure_shape(tf.convert_to_tensor(box, tf.int32), [4])
        mirrored, box = box[3] < 0, tf.abs(box)
        if self.raw:
            y, x, height, width = tf.unstack(box)
            part = self._unpacked(data)[y:y + height, x:x + width]
        else:
            part = self._wanted_channels(_part(data, box, self.dtype), as_float=False)
        return self._scaled(self._stretched(part, mirrored), [])

    def _unpacked(self, data):
        """Raw bytes -> float32 [h, w, C] in data units."""
        shape = tf.io.decode_raw(tf.strings.substr(data, 0, 12), tf.int32)
        values = tf.io.decode_raw(tf.strings.substr(data, 12, -1), tf.as_dtype(self.dtype))
        values = tf.reshape(values, tf.concat([tf.ensure_shape(shape, [3])[:2], [self.channels]], 0))
        return tf.cast(values, tf.float32)

    def _wanted_channels(self, values, as_float=True):
        """[..., c] of 1, 2, 3 or 4 channels -> float32 [..., C], or in their own type where no luma is taken."""
        if self.same_channels:
            with _after(_of_channels(tf.shape(values)[-1], self.channels)):
                values = tf.identity(values)
        if self.channels == 3:
            def colour():
                return values[..., :3]

            def grey():
                return tf.repeat(values[..., :1], 3, axis=-1)
        else:
            def colour():
                found = tf.cast(values[..., :3], tf.float32)
                if self.colourless:
                    with _after(_of_no_colour(found, float(self.high[0] - self.low[0]))):
                        found = tf.identity(found)
                return tf.reduce_sum(found * _LUMA, axis=-1, keepdims=True)

            def grey():
                return tf.cast(values[..., :1], tf.float32)

            as_float = True
        known = values.shape[-1]
        if known is None:
            values = tf.cond(tf.shape(values)[-1] >= 3, colour, grey)
        else:
            values = colour() if known >= 3 else grey()
        values = tf.cast(values, tf.float32) if as_float else values
        return tf.ensure_shape(values, [*values.shape[:-1], self.channels])

    def _fitted(self, values):
        """float32 [..., h, w, C] in data units -> [..., H, W, C] in [0, 1]."""
        shape = tf.shape(values)[-3:-1]
        if self.strict:
            with _after(_of_size(shape, self.size)):
                # Not `ensure_shape`: from it the graph's optimizer concludes that the assertion always holds.
                found = tf.reshape(values, tf.concat([tf.shape(values)[:-3], [*self.size, self.channels]], axis=0))
            return self._scaled(found, values.shape[:-3])

        def resized():
            if self.fit == "pad":
                return self._padded(values, shape)
            return tf.image.resize(values, self.size, antialias=True)

        fitted = tf.cond(tf.reduce_all(shape == self.size), lambda: values, resized)
        return self._scaled(fitted, values.shape[:-3])

    def _stretched(self, values, mirrored):
        """[h, w, C] -> float32 [H, W, C] in data units, bilinear with antialias.

        The kernel of ScaleAndTranslate is fast where there are many channels: rows are resized with a whole line of
        pixels as the channels, then columns; this takes half the time of `tf.image.resize`, with the same result.
        """
        shape, (height, width) = tf.shape(values), self.size

        def lines(pixels, count):
            scale = tf.cast(count, tf.float32) / tf.cast(tf.shape(pixels)[0], tf.float32)
            return tf.raw_ops.ScaleAndTranslate(
                images=pixels[None, :, None], size=[count, 1], scale=tf.stack([scale, 1.0]), translation=[0.0, 0.0],
                kernel_type="triangle", antialias=True)[0, :, 0]

        rows = lines(tf.reshape(values, [shape[0], shape[1] * self.channels]), height)
        columns = tf.transpose(tf.reshape(rows, [height, shape[1], self.channels]), [1, 0, 2])
        columns = lines(tf.reshape(columns, [shape[1], height * self.channels]), width)
        # Cheapest here, where it moves whole lines.
        columns = tf.cond(mirrored, lambda: tf.reverse(columns, [0]), lambda: columns)
        return tf.transpose(tf.reshape(columns, [width, height, self.channels]), [1, 0, 2])

    def _scaled(self, values, leading):
        return tf.ensure_shape(self._in_range(values), [*leading, *self.size, self.channels])

    def _in_range(self, values):
        # By one number where there is one only, which is faster.
        low, high = ((side[0] if (side == side[0]).all() else side) for side in (self.low, self.high))
        if np.any(low):
            values = values - low
        return tf.clip_by_value(values / (high - low), 0.0, 1.0)

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


def height_and_width(size):
    """(H, W) of a `size` in pixels: one whole number for height = width, or the two.

    Raises:  ValueError for anything else, a side below 1 or more than MAX_PIXELS.
    """
    pair = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    whole = len(pair) == 2 and all(isinstance(side, numbers.Integral) and not isinstance(side, bool) for side in pair)
    if not whole or min(pair) < 1 or int(pair[0]) * int(pair[1]) > MAX_PIXELS:
        raise ValueError(f"`size` is {size!r} but must be pixels, one whole number or (height, width), at least 1 each "
                         f"and at most {MAX_PIXELS:,} in all; use 64, or (256, 128).")
    return int(pair[0]), int(pair[1])


def size_text(height, width):
    """The `size` of `height_and_width` as it is typed: "64" or "(256, 128)"."""
    return str(height if height == width else (height, width))


def decode(data, dtype="uint8"):
    """One encoded image to its stored pixels; of an animation the first frame.

    Args:    data: string scalar; PNG, JPEG, GIF or BMP.  dtype: "uint8", or "uint16" for a PNG of 16 bits.
    Returns: [h, w, c] with c = 1, 2 (grey and alpha), 3 or 4.
    Raises:  InvalidArgumentError as in `Decoder.image`.
    """
    data = tf.convert_to_tensor(data, tf.string)[None]
    ways, sizes = _checked(data, dtype)
    return _pixels(_sized(data[0], ways[0], sizes[0])[0], ways[0], dtype)


def _part(data, box, dtype):
    """The pixels of a box of one encoded image; of a JPEG nothing else is decoded."""
    data = tf.convert_to_tensor(data, tf.string)

    def jpeg():         # what `_checked` and `_sized` would do for it, in fewer ops
        with _after(_bounded(tf.io.extract_jpeg_shape(data, tf.int64)[None, :2])):
            return tf.io.decode_and_crop_jpeg(data, box, channels=0, dct_method=DCT)

    def others():
        y, x, height, width = tf.unstack(box)
        return decode(data, dtype)[y:y + height, x:x + width]

    if dtype != "uint8":
        return others()
    return tf.cond(tf.strings.substr(data, 0, len(_JPEG_MAGIC)) == _JPEG_MAGIC, jpeg, others)


def _checked(data, dtype):
    """The way each image must be decoded, int32 [n]: _PLAIN, _JPEG or _GIF; the pixels, int64 [n], of _PLAIN.

    All headers together, as ops on single images cost more than decoding a small one.
    """
    heads = tf.io.decode_raw(data, tf.uint8, fixed_length=_HEADER)
    heads = tf.ensure_shape(tf.cast(heads, tf.int64), [None, _HEADER])

    def begins(magic):
        return tf.reduce_all(heads[:, :len(magic)] == list(magic), axis=1)

    # The same magic bytes by which decode_image chooses its decoder.
    png, jpeg, gif, bmp = (begins(magic) for magic in (b"\x89PNG", _JPEG_MAGIC, b"GIF8", b"BM"))
    if dtype == "uint16":
        known = tf.debugging.Assert(
            tf.reduce_all(png & (heads[:, 24] == 16)), ["the bytes are no PNG of 16 bits a channel; send one"])
    else:
        known = [tf.debugging.Assert(
            tf.reduce_all(png | jpeg | gif | bmp),
            ["the bytes are no image of a known format; send PNG, JPEG, GIF or BMP"]), tf.debugging.Assert(
            tf.reduce_all(~png | (heads[:, 24] != 16)),
            ["the bytes are a PNG of 16 bits a channel but this model was trained on 8; send one of 8 bits"])]
    png_size = tf.stack([_number(heads[:, 20:24], big=True), _number(heads[:, 16:20], big=True)], axis=1)
    bmp_size = tf.stack([_number(heads[:, 22:26]), _number(heads[:, 18:22])], axis=1)
    # A bitmap from top to bottom has a negative height.
    bmp_size = tf.where(bmp_size >= 2 ** 31, 2 ** 32 - bmp_size, bmp_size)
    size = tf.where(png[:, None], png_size, tf.where(bmp[:, None], bmp_size, 1))
    with _after(*tf.nest.flatten(known), _bounded(size)):
        return tf.where(jpeg, _JPEG, tf.where(gif, _GIF, _PLAIN)), tf.reduce_prod(size, axis=1)


def _sized(data, way, pixels):
    """One image as it may be decoded and its pixels; the sizes of JPEG and GIF are read and checked here."""
    def jpeg():
        size = tf.io.extract_jpeg_shape(data, tf.int64)[:2]
        with _after(_bounded(size[None])):
            return tf.identity(data), tf.reduce_prod(size)

    return tf.switch_case(way, [lambda: (tf.identity(data), tf.identity(pixels)), jpeg,
                                lambda: _first_frame(data)])


def _pixels(data, way, dtype):
    """Decodes one image that `_sized` gave."""
    if dtype == "uint16":
        return tf.ensure_shape(tf.io.decode_png(data, channels=0, dtype=tf.uint16), [None, None, None])
    values = tf.cond(way == _JPEG, lambda: tf.io.decode_jpeg(data, channels=0, dct_method=DCT),
                     lambda: tf.io.decode_image(data, channels=0, expand_animations=False))
    return tf.ensure_shape(values, [None, None, None])


def _of_size(shape, size):
    """Asserts that an image is of the very size."""
    return tf.debugging.Assert(tf.reduce_all(shape == size), [tf.strings.format(
        "an image of {} x {} pixels (height x width) cannot be judged: this model tells by single pixels and was "
        f"trained on images of {size[0]} x {size[1]}, so that resampling would mislead it; send an image of that size, "
        "as it was made", (shape[0], shape[1]))])


def _of_channels(found, channels):
    """Asserts that an image has as many channels, without alpha, as the model was trained on."""
    return tf.debugging.Assert(found - 1 + found % 2 == channels, [tf.strings.format(
        "an image of {} channels cannot be judged: this model was trained on images of "
        f"{channels} ({'grey' if channels == 1 else 'colour'}); send such a one", (found,))])


def _of_no_colour(values, scale):
    """Asserts that the three channels of each image [..., h, w, 3] are nearly the same, as far as JPEG keeps them."""
    spread = tf.reduce_max(values, axis=-1) - tf.reduce_min(values, axis=-1)
    return tf.debugging.Assert(tf.reduce_all(tf.reduce_mean(spread, axis=[-2, -1]) <= _COLOUR * scale), [
        "the image is in colour but this model was trained on grey images alone; send a grey one, or the image in grey "
        "if its colours mean nothing"])


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


def _inside(landmarks, shape):
    """Asserts that landmarks [5, 2] can be those of an image: about something in it, in pixels."""
    middle, spread = tf.reduce_mean(landmarks, 0), tf.reduce_max(landmarks, 0) - tf.reduce_min(landmarks, 0)
    sides = tf.cast(shape[1::-1], tf.float32)
    good = tf.reduce_all((middle >= 0.0) & (middle <= sides)) & (tf.reduce_max(spread) >= 2.0)     # False for NaN
    return tf.debugging.Assert(good, [tf.strings.format(
        "the landmarks about ({}, {}) do not lie in the image of {} x {} pixels (height x width); send x and y of five "
        "points in pixels", (middle[0], middle[1], shape[0], shape[1]))])


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
