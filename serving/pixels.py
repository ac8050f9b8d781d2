"""How large encoded images become, told by their heads, so that no graph decodes what would fill the memory."""

import io
import struct
import warnings

from serving.status import invalid

MOST_PIXELS = 50_000_000  # of one image, as tfrecords.decode takes
TOGETHER = 4  # times as many in one request
MOST_IMAGES = 4096  # a request: the smallest one becomes as large as the model takes, 224 x 224 are these pixels again
IMAGES = "image_bytes"  # inputs whose names begin so hold encoded images


def require_pixels(inputs, most=MOST_PIXELS):
    """Raises: StatusError INVALID_ARGUMENT for images of {input: array} that are too many or too large.

    An image may be too large by itself, or all of an input together. Bytes of no known format are left to the graph.
    """
    for name, images in inputs.items():
        if not name.startswith(IMAGES) or images.dtype != object:
            continue
        require_number(name, images.size)
        together = 0
        for place, data in enumerate(images.ravel()):
            size = encoded_size(data)
            if size is None:
                continue
            height, width = size
            if height * width > most:
                raise invalid(
                    f"image {place} of `{name}` has {height:,} x {width:,} pixels but at most {most:,} are taken; send "
                    "a smaller one."
                )
            together += height * width
        if together > TOGETHER * most:
            raise invalid(
                f"the images of `{name}` have {together:,} pixels together but at most {TOGETHER * most:,} are taken "
                "at once; send fewer or smaller ones."
            )


def require_number(name, number):
    """Raises: StatusError INVALID_ARGUMENT for more encoded images than a request may hold."""
    if number > MOST_IMAGES:
        raise invalid(
            f"`{name}` holds {number:,} images but at most {MOST_IMAGES:,} are taken at once; send several requests."
        )


def encoded_size(data):
    """(height, width) that the head of an encoded image states, None where it states none; nothing is decoded."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return struct.unpack(">II", data[16:24])[::-1] if len(data) >= 24 else None
    from PIL import Image  # most requests hold no image of another format

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=("JPEG", "GIF", "BMP", "WEBP")) as opened:
                return opened.height, opened.width
    except Image.DecompressionBombError:
        return 2**31, 2**31
    except Exception:  # noqa: BLE001 - damaged images raise anything; the graph says what is wrong with them
        return None
