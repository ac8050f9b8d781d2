"""One image's bytes, before it becomes a record: is it usable, how large is it, must it be stored as PNG?"""

import contextlib
import io
import re
import typing
import warnings

import numpy as np
import tensorflow as tf
from PIL import Image

from tfrecords import decode

MOST_SKIPPED = 0.05                         # share of images that may be unusable
MOST_LISTED = 1000                          # of them by name

_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")     # what Pillow may open
_STORED_AS_PNG = ("WEBP", "TIFF", "PPM")                            # what TensorFlow cannot decode
_ORIENTATION = 0x0112                                               # EXIF
_BITS_PER_SAMPLE = 258                                              # TIFF
_SPACE = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PPM_MAXIMUM = re.compile(rb"P[2356]" + (_SPACE + rb"\d+") * 2 + _SPACE + rb"(\d+)")


class Examined(typing.NamedTuple):
    """What is known of an image that can be used.

    Args:    channels: as it will be stored: 1, 2 = grey and alpha, 3, 4.
             becomes_png: whether TensorFlow cannot read it as it is.
             turned: whether it has an EXIF orientation other than upright.
    """

    height: int
    width: int
    channels: int
    becomes_png: bool
    turned: bool


class Skipped:
    """Images that cannot be used: all counted, the first MOST_LISTED listed with the reason."""

    def __init__(self):
        self.count, self._listed = 0, []

    def add(self, path, reason):
        """One more.   Args: reason: text, or the ValueError or OSError that says it."""
        self.count += 1
        if len(self._listed) < MOST_LISTED:
            # Without the number and the path of an error of the operating system.
            self._listed.append({"path": path, "reason": getattr(reason, "strerror", None) or str(reason)})

    def facts(self):
        """As a manifest keeps it."""
        return {"count": self.count, "unreadable": self._listed}

    def judge(self, used):
        """Raises: ValueError where no image is used, or more than MOST_SKIPPED of them are not."""
        total = used + self.count
        examples = "; ".join(f"{entry['path']}: {entry['reason']}" for entry in self._listed[:3])
        if not used:
            raise ValueError(f"none of the {total:,} images can be used ({examples}); repair or replace them.")
        if self.count > MOST_SKIPPED * total:
            raise ValueError(f"{self.count:,} of {total:,} images ({self.count / total:.1%}) cannot be used, more than "
                             f"the {MOST_SKIPPED:.0%} that are skipped ({examples}); repair or remove them.")


@contextlib.contextmanager
def _without_warnings():
    """What Pillow warns of is judged here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@_without_warnings()
def examine(data):
    """Checks one encoded image: its header first, then all of its pixels.

    Args:    data: bytes.
    Returns: Examined.
    Raises:  ValueError with the reason why it cannot be used.
    """
    image = _opened(data)
    width, height = image.size
    if min(width, height) < 1 or width * height > decode.MAX_PIXELS:
        raise ValueError(f"{height} x {width} pixels are not 1 to {decode.MAX_PIXELS:,} pixels")
    if _is_deep(image, data):
        raise ValueError("16-bit images are not supported yet")
    turned = _is_turned(image)
    if image.format not in _STORED_AS_PNG:
        try:
            pixels = _decoded(data, image.format).numpy()
        except tf.errors.InvalidArgumentError:
            pixels = None
        if image.format != "BMP":
            if pixels is None:
                raise ValueError("the image is damaged or truncated")
            return Examined(*pixels.shape, False, turned)
        # TensorFlow reads only some bitmaps, and takes palette numbers for grey values.
        if pixels is not None and np.array_equal(pixels[..., :3], _pixels(image)[..., :3]):
            return Examined(*pixels.shape, False, turned)
    return Examined(*_pixels(image).shape, True, turned)


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def _decode_gif(data):
    return decode.decode(data)


def _decoded(data, kind):
    """What `Decoder` will read, by the same op."""
    if kind == "GIF":                       # whose frames may be larger than its header says
        return _decode_gif(data)
    # The size is known to be small enough; a call of the whole graph takes five times as long.
    return tf.io.decode_image(data, channels=0, expand_animations=False)


def _opened(data):
    if not data:
        raise ValueError("the file is empty")
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError:
        raise ValueError(f"the image has more than {decode.MAX_PIXELS:,} pixels") from None
    except Exception:       # damaged headers raise anything from SyntaxError to struct.error
        raise ValueError("the file is not an image of a known format") from None


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
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


@_without_warnings()
def as_png(data):
    """The same pixels as PNG bytes, of several frames or pages the first."""
    return tf.io.encode_png(_pixels(_opened(data))).numpy()


def _is_deep(image, data):
    """More than 8 bits a channel, which Pillow partly hides."""
    if image.mode[0] in "IF":
        return True
    if image.format == "PNG":
        return data[24] == 16
    if image.format == "TIFF":
        bits = image.tag_v2.get(_BITS_PER_SAMPLE, 1)
        return any(count > 8 for count in (bits if isinstance(bits, tuple) else (bits,)))
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
