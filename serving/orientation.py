"""EXIF orientations: how a photo is to be turned, read from it and written into a PNG that was made of it."""

import io
import struct
import warnings
import zlib

TAG = 0x0112
_HEAD = 33  # bytes of a PNG's signature and its first chunk, IHDR


def carried(image, png):
    """`png` with the orientation of the encoded `image`; no pixel changes, and without one it is as it was.

    A served model reads pixels as they are stored. What it makes of a photo that lies on its side would be shown on its
    side, where the photo itself is shown upright.
    """
    orientation = orientation_of(image)
    if orientation == 1:
        return png
    exif = struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, TAG, 3, 1, orientation, 0, 0)
    body = b"eXIf" + exif
    chunk = struct.pack(">I", len(exif)) + body + struct.pack(">I", zlib.crc32(body))
    return png[:_HEAD] + chunk + png[_HEAD:]


def orientation_of(image):
    """1 to 8 as an encoded image states it; 1, upright, where it states none or cannot be read."""
    if image[:2] != b"\xff\xd8" and b"eXIf" not in image[:1 << 16]:
        return 1
    from PIL import Image  # of no use to those who only ask for vectors

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(image), formats=("JPEG", "PNG")) as opened:
                # Of a PNG `getexif` would decode the pixels, in search of a chunk behind them.
                exif = Image.Exif()
                exif.load(opened.info.get("exif", b""))
                found = exif.get(TAG, 1)
    except Exception:  # noqa: BLE001 - damaged heads raise anything; the pixels may still be fine
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1  # it may be stored as another kind of number
