"""One image before it becomes a record: is it usable, what are its pixels, must it be stored in another form?"""

import contextlib
import io
import re
import typing
import warnings
import zlib

import numpy as np
import tensorflow as tf
import tifffile
from PIL import Image

from tfrecords import decode
from tfrecords.read import MOST_BANDS

MOST_SKIPPED = 0.05                         # share of images that may be unusable
MOST_LISTED = 1000                          # of them by name
_TILE = re.compile(r"#\d+_\d+$")            # what `cuts` puts behind the path of a tile's file

_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")     # what Pillow may open
_STORED_AS_PNG = ("WEBP", "TIFF", "PPM")                            # what TensorFlow cannot decode
_ORIENTATION = 0x0112                                               # EXIF
_BITS_PER_SAMPLE, _SAMPLES_PER_PIXEL, _SAMPLE_FORMAT = 258, 277, 339            # of a TIFF
_SPACE = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PPM_MAXIMUM = re.compile(rb"P[2356]" + (_SPACE + rb"\d+") * 2 + _SPACE + rb"(\d+)")
_NPY = b"\x93NUMPY"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class Examined(typing.NamedTuple):
    """An image that can be used.

    Args:    pixels: uint8, uint16 or float32 [h, w, c].
             bands: channels that say something: 1 for grey with alpha, 3 for colour with alpha, else c.
             data: the encoded bytes, where TensorFlow reads these as they are; else None.
             turned: whether it has an EXIF orientation other than upright.
    """

    pixels: np.ndarray
    bands: int
    data: bytes | None = None
    turned: bool = False


class Kind(typing.NamedTuple):
    """What all images of a collection have in common.

    Args:    dtype: name of their numbers' type.  raw: stored as numbers, no encoded image holds them.
             bands: of raw images; 0 of encoded ones, which may be grey or colour.
    """

    dtype: str
    raw: bool
    bands: int

    @classmethod
    def of(cls, image):
        """That of an `Examined` image."""
        raw = image.bands not in (1, 3) or image.pixels.dtype == np.float32
        return cls(image.pixels.dtype.name, raw, image.bands if raw else 0)

    def require(self, image):
        """Raises: ValueError for an `Examined` image of another kind."""
        own = Kind.of(image)
        if own != self:
            raise ValueError(f"its pixels are {own} but the first image's are {self}; write images of another kind as "
                             "data of their own")

    def __str__(self):
        return f"{self.dtype}{f' of {self.bands} bands' if self.raw else ''}"


class Skipped:
    """Images that cannot be used: all counted, the first MOST_LISTED listed with the reason, of tiles one a file."""

    def __init__(self):
        self.count, self._listed, self._files = 0, [], set()

    def add(self, path, reason):
        """One more.   Args: reason: text, or the ValueError or OSError that says it."""
        # Without the number and the path of an error of the operating system.
        self.extend(1, [{"path": path, "reason": getattr(reason, "strerror", None) or str(reason)}])

    def extend(self, count, listed):
        """More of them, as `facts` of another tell."""
        self.count += count
        for entry in listed:
            file = _TILE.sub("", entry["path"])
            if len(self._listed) < MOST_LISTED and (file == entry["path"] or file not in self._files):
                self._listed.append(entry)
                self._files.add(file)

    def facts(self):
        """As a manifest keeps it."""
        return {"count": self.count, "unreadable": self._listed}

    def judge(self, used, most=None):
        """Raises: ValueError where no image is used, or more than the share `most` (MOST_SKIPPED) of them are not."""
        most = MOST_SKIPPED if most is None else most
        total = used + self.count
        examples = "; ".join(f"{entry['path']}: {entry['reason']}" for entry in self._listed[:3])
        if not used:
            raise ValueError(f"none of the {total:,} images can be used ({examples}); repair or replace them.")
        if self.count > most * total:
            raise ValueError(f"{self.count:,} of {total:,} images ({self.count / total:.1%}) cannot be used, more than "
                             f"the {most:.0%} that are skipped ({examples}); repair or remove them.")


@contextlib.contextmanager
def _without_warnings():
    """What Pillow warns of is judged here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@_without_warnings()
def examine(data):
    """Checks one image: its header first, then all of its pixels.

    Args:    data: encoded bytes of PNG, JPEG, GIF, BMP, WEBP, TIFF, PPM or NPY, or an array [h, w] or [h, w, c].
    Returns: Examined; of several frames or pages the first. Arrays of int16, float16 and float64 become float32.
    Raises:  ValueError with the reason why it cannot be used.
    """
    if isinstance(data, np.ndarray):
        return _of_array(data)
    if data[:6] == _NPY:
        return _of_array(_npy(data))
    image = _opened(data)
    if image is None or image.format == "TIFF" and _is_deep(image, data):
        return _of_array(_tiff(data, image))
    if image.format == "TIFF" and getattr(image, "n_frames", 1) > 1:
        with _opened_tiff(data) as file:
            _only_page(file)
    width, height = image.size
    _require_size(height, width)
    deep = _is_deep(image, data)
    if deep and image.format != "PNG":
        raise ValueError(f"{image.format} images of more than 8 bits are not read; convert them to PNG, TIFF or NPY")
    turned = _is_turned(image)
    if image.format not in _STORED_AS_PNG:
        try:
            pixels = _decoded(data, image.format, deep).numpy()
        except tf.errors.InvalidArgumentError:
            pixels = None
        if image.format != "BMP":
            if pixels is None:
                raise ValueError("the image is damaged or truncated")
            return _with_alpha(pixels, data, turned)
        # TensorFlow reads only some bitmaps, and takes palette numbers for grey values.
        if pixels is not None and np.array_equal(pixels[..., :3], _pixels(image)[..., :3]):
            return _with_alpha(pixels, data, turned)
    return _with_alpha(_pixels(image), None, turned)


def pixels(data):
    """The pixels of an image, uint8, uint16 or float32 [h, w, c].   Raises: as `examine`."""
    return examine(data).pixels


@_without_warnings()
def mask_pixels(data):
    """The pixels of a mask, [h, w, 1]; of a palette image the numbers, not the colours, as in Pascal VOC.

    Raises:  ValueError as `examine` does, and for colours that stand for no number.
    """
    image = None if isinstance(data, np.ndarray) or data[:6] == _NPY else _opened(data)
    if image is not None and image.mode == "P":
        width, height = image.size
        _require_size(height, width)
        try:
            return np.asarray(image)[..., None]
        except Exception:       # as in _opened
            raise ValueError("the image is damaged or truncated") from None
    values = examine(data).pixels
    values = values[..., :3] if values.shape[-1] >= 3 else values[..., :1]
    if (values != values[..., :1]).any():
        raise ValueError("it has colours but must hold one number a pixel; save it as grey or palette image")
    return values[..., :1]


@_without_warnings()
def size_of(data):
    """(height, width) of an image by its header.   Raises: ValueError where it has none."""
    if isinstance(data, np.ndarray):
        return data.shape[:2]
    if data[:6] == _NPY:
        return _npy_shape(data)[0][:2]
    image = _opened(data)
    if image is None:
        with _opened_tiff(data) as file, _as_damaged():
            page = file.pages[0]
            return page.imagelength, page.imagewidth
    return image.size[::-1]


def stored(image, raw):
    """The bytes that a record holds of an `Examined` image.

    Args:    raw: the values themselves behind 12 bytes of height, width and channels (int32), all little-endian;
             else an encoded image that TensorFlow reads, a PNG where it was none.
    """
    if raw:
        shape = np.asarray(image.pixels.shape, "<i4").tobytes()
        return shape + image.pixels.astype(image.pixels.dtype.newbyteorder("<")).tobytes()
    return image.data if image.data is not None else tf.io.encode_png(image.pixels).numpy()


def _with_alpha(values, data, turned):
    return Examined(values, 3 if values.shape[-1] >= 3 else 1, data, turned)


def _require_size(height, width, bands=1):
    if min(height, width) < 1 or width * height > decode.MAX_PIXELS:
        raise ValueError(f"{height} x {width} pixels are not 1 to {decode.MAX_PIXELS:,} pixels")
    if height * width * bands > decode.MAX_PIXELS_TOGETHER:
        raise ValueError(f"{height} x {width} pixels of {bands} bands are more than {decode.MAX_PIXELS_TOGETHER:,} "
                         "values")


def _of_array(values):
    if values.dtype.kind == "f" and values.dtype.itemsize <= 8 or values.dtype in (np.int16, np.dtype(">i2")):
        values = values.astype(np.float32)
    if values.dtype.newbyteorder("=") not in (np.uint8, np.uint16, np.float32):
        raise ValueError(f"its numbers are {values.dtype} but must be uint8, uint16 or float32")
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or not 1 <= values.shape[-1] <= MOST_BANDS:
        raise ValueError(f"its shape is {list(values.shape)} but must be [h, w] or [h, w, c], c at most {MOST_BANDS}")
    _require_size(*values.shape)
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    if values.dtype == np.float32 and not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    # Four channels of 8 bits are colour and alpha; two, or four of another kind, are bands.
    bands = 3 if values.shape[-1] == 4 and values.dtype == np.uint8 else values.shape[-1]
    return Examined(values, bands)


def _npy_shape(data):
    """(shape, dtype, offset of the values) of an NPY file."""
    stream = io.BytesIO(data[:16384])
    try:
        major, _ = np.lib.format.read_magic(stream)
        read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[major]
        shape, fortran, dtype = read(stream)
    except Exception:       # as in _opened
        raise ValueError("the NPY header is damaged or of an unusual version") from None
    if fortran or dtype.hasobject or not 2 <= len(shape) <= 3:
        raise ValueError(f"the NPY file holds {dtype} {list(shape)}{' by columns' if fortran else ''} but must hold "
                         "numbers [h, w] or [h, w, c] by rows")
    _require_size(*shape)
    return shape, dtype, stream.tell()


def _npy(data):
    shape, dtype, offset = _npy_shape(data)
    count = int(np.prod(shape))
    if len(data) != offset + count * dtype.itemsize:
        raise ValueError("the NPY file is truncated or longer than its header says")
    return np.frombuffer(data, dtype, count, offset).reshape(shape)


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def _decode_gif(data):
    return decode.decode(data)


def _decoded(data, kind, deep):
    """What `Decoder` will read, by the same op."""
    if kind == "GIF":                       # whose frames may be larger than its header says
        return _decode_gif(data)
    if deep:
        return tf.io.decode_png(data, channels=0, dtype=tf.uint16)
    if kind == "JPEG":
        return tf.io.decode_jpeg(data, channels=0, dct_method=decode.DCT)
    # The size is known to be small enough; a call of the whole graph takes five times as long.
    return tf.io.decode_image(data, channels=0, expand_animations=False)


def _opened(data):
    """The image by Pillow, its header read; None for a TIFF that only tifffile may know."""
    if not data:
        raise ValueError("the file is empty")
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError:
        raise ValueError(f"the image has more than {decode.MAX_PIXELS:,} pixels") from None
    except Exception:       # damaged headers raise anything from SyntaxError to struct.error
        if data[:4] in _TIFF:
            return None
        raise ValueError("the file is not an image of a known format") from None


def _only_page(file):
    """The page of a TIFF that has one image, beside smaller copies of it."""
    with _as_damaged():
        first, *others = file.pages
        several = any(not page.is_reduced for page in others)
    if several:
        raise ValueError(f"the TIFF file has {len(file.pages)} pages but must hold one image; write the pages as "
                         "files, or the bands of one image into one page (channels last)")
    return first


def _pixels(image):
    """All pixels through Pillow: uint8 [h, w, c], of several frames or pages the first."""
    try:
        image.load()
        if image.mode == "1":
            image = image.convert("L")
        elif image.mode not in ("L", "LA", "RGB", "RGBA"):
            image = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    except Exception:       # as in _opened
        raise ValueError("the image is damaged or truncated") from None
    values = np.asarray(image)
    return values if values.ndim == 3 else values[..., None]


@contextlib.contextmanager
def _opened_tiff(data):
    with _as_damaged():
        file = tifffile.TiffFile(io.BytesIO(data))
    with file:
        with _as_damaged():
            if not len(file.pages):
                raise ValueError
        yield file


@contextlib.contextmanager
def _as_damaged():
    """Inside, whatever tifffile raises says that the file is damaged."""
    try:
        yield
    except Exception:       # as in _opened
        raise ValueError("the TIFF file is damaged or of an unusual kind") from None


def _tiff(data, image):
    """The first page of a TIFF that has more than 8 bits or other than 1 to 4 channels: [h, w, c]."""
    with _opened_tiff(data) as file:
        page = _only_page(file)
        if image is not None and image.mode == "I;16":      # every compression that Pillow knows
            _require_size(*image.size)
            with contextlib.suppress(Exception):
                image.load()
                return np.asarray(image).astype(np.uint16)
        with _as_damaged():
            height, width, bands = page.imagelength, page.imagewidth, page.samplesperpixel
            dtype, axes, compression = page.dtype, page.axes, page.compression.name
            segments = list(zip(page.dataoffsets, page.databytecounts))
        if not 1 <= bands <= MOST_BANDS or dtype is None or axes not in ("YX", "YXS", "SYX"):
            raise ValueError(f"the TIFF page is {dtype} of axes {axes} but must be one image of 1 to {MOST_BANDS} "
                             "bands")
        _require_size(height, width, bands)
        _require_bounded(data, segments, height * width * bands * dtype.itemsize, compression)
        with _as_damaged():
            values = page.asarray(maxworkers=1)
    return np.moveaxis(values, 0, -1) if axes == "SYX" else values


def _require_bounded(data, segments, size, compression):
    """Refuses segments that unpack to more than the whole image: tifffile would unpack all of them."""
    if compression == "NONE":
        return
    if compression not in ("DEFLATE", "ADOBE_DEFLATE"):
        raise ValueError(f"the TIFF file is compressed by {compression}; save it uncompressed or by deflate")
    for offset, count in segments:
        unpacker = zlib.decompressobj()
        try:
            found = unpacker.decompress(data[offset:offset + count], size + 2 ** 16)
        except zlib.error:
            raise ValueError("the TIFF file is damaged or of an unusual kind") from None
        if len(found) > size + 2 ** 15:     # tiles at the border are whole
            raise ValueError("the TIFF file unpacks to more than its size says")


def _is_deep(image, data):
    """More than 8 bits a channel or, of a TIFF, numbers or channels that Pillow would change."""
    if image.mode[0] in "IF":
        return True
    if image.format == "PNG":
        return data[24] == 16
    if image.format == "TIFF":
        bits = image.tag_v2.get(_BITS_PER_SAMPLE, 1)
        kinds = image.tag_v2.get(_SAMPLE_FORMAT, 1)
        return (any(count > 8 for count in (bits if isinstance(bits, tuple) else (bits,)))
                or any(kind != 1 for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
                or image.tag_v2.get(_SAMPLES_PER_PIXEL, 1) > 4)
    maximum = _PPM_MAXIMUM.match(data[:4096]) if image.format == "PPM" else None
    return maximum is not None and (len(maximum[1]) > 9 or int(maximum[1]) > 255)


def _is_turned(image):
    # Pillow turns a TIFF upright itself.
    if image.format == "TIFF" or "exif" not in image.info:
        return False
    try:
        return image.getexif().get(_ORIENTATION, 1) not in (0, 1)
    except Exception:       # a damaged EXIF block is no reason to leave the image out
        return False
