"""What is refused, what is kept, what becomes PNG; the rest of the rules is tested through `write`."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tfrecords import examine
from tfrecords.examine import as_png


def encoded(kind, mode="RGB", **options):
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (6, 5, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind, mode, channels, becomes_png", [
    ("PNG", "RGB", 3, False), ("PNG", "LA", 2, False), ("PNG", "P", 3, False), ("JPEG", "L", 1, False),
    ("JPEG", "CMYK", 3, False), ("GIF", "P", 3, False), ("WEBP", "RGB", 3, True), ("TIFF", "L", 1, True),
    ("PPM", "RGB", 3, True), ("BMP", "RGB", 3, False)])
def test_size_and_channels_as_stored(kind, mode, channels, becomes_png):
    assert examine.examine(encoded(kind, mode)) == (6, 5, channels, becomes_png, False)


def test_png_of_another_format_has_the_same_pixels():
    data = encoded("TIFF")
    again = np.asarray(Image.open(io.BytesIO(as_png(data))))
    np.testing.assert_array_equal(again, np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.filterwarnings("error")
def test_a_bomb_is_refused_without_decoding(monkeypatch):
    header = b"IHDR" + struct.pack(">II", 10_000, 10_000) + bytes([8, 0, 0, 0, 0])
    png = encoded("PNG")
    bomb = png[:8] + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + png[33:]
    monkeypatch.setattr(examine, "_decoded", lambda data, kind: pytest.fail("it was decoded"))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(ValueError, match="10000 x 10000 pixels"):
        examine.examine(bomb)


@pytest.mark.parametrize("data, reason", [(b"", "the file is empty"), (b"hello", "not an image"),
                                          (encoded("JPEG")[:-40], "damaged or truncated")])
def test_unusable_bytes_are_refused_with_the_reason(data, reason):
    with pytest.raises(ValueError, match=reason):
        examine.examine(data)
