"""A photo that lies on its side: what is made of it says so as well."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from serving.orientation import TAG, carried, orientation_of

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)


def encoded(kind, orientation=None, pixels=PIXELS):
    exif, stream = Image.Exif(), io.BytesIO()
    if orientation is not None:
        exif[TAG] = orientation
    Image.fromarray(pixels).save(stream, kind, exif=exif)
    return stream.getvalue()


def stated(kind, form, value):
    """A PNG whose orientation is a value of another kind than the integer it must be."""
    exif = b"eXIf" + struct.pack(f">2sHIHHHI{form}I", b"MM", 42, 8, 1, TAG, kind, 1, value, 0)
    plain = encoded("PNG")
    return plain[:33] + struct.pack(">I", len(exif) - 4) + exif + struct.pack(">I", zlib.crc32(exif)) + plain[33:]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_png_is_shown_as_the_photo_it_was_made_of(kind, orientation):
    photo = encoded(kind, orientation)
    assert orientation_of(photo) == orientation
    plain = encoded("PNG", pixels=PIXELS.repeat(2, 0).repeat(2, 1))
    found = Image.open(io.BytesIO(carried(photo, plain)))
    np.testing.assert_array_equal(found, Image.open(io.BytesIO(plain)), "no pixel changes")
    Image.open(io.BytesIO(carried(photo, plain))).verify()
    told = Image.open(io.BytesIO(encoded("PNG", orientation, PIXELS.repeat(2, 0).repeat(2, 1))))
    np.testing.assert_array_equal(ImageOps.exif_transpose(found), ImageOps.exif_transpose(told))


@pytest.mark.parametrize("image", [
    encoded("JPEG"), encoded("PNG"), encoded("BMP"), encoded("JPEG", 9), encoded("JPEG", 0), b"", b"\xff\xd8", b"text",
    encoded("JPEG", 6)[:40], b"\xff\xd8eXIf" + bytes(99), stated(11, "f", 6.0),
    stated(2, "4s", b"6"), stated(3, "I", 6 << 24)[:40],
])
def test_without_one_or_with_nonsense_nothing_is_added(image):
    assert orientation_of(image) == 1 and carried(image, b"as it was") == b"as it was"
