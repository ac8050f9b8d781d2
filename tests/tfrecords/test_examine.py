"""What is refused, what is kept, what is stored in another form; the rest of the rules is tested through `write`."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
import tifffile
from PIL import Image

from tfrecords import examine
from tfrecords.decode import Decoder
from tfrecords.examine import Kind, stored

RANDOM = np.random.default_rng(0)
DEEP = RANDOM.integers(0, 2 ** 16, (6, 5), np.uint16)
BANDS = RANDOM.integers(0, 2 ** 16, (6, 5, 7), np.uint16)
REAL = RANDOM.normal(0, 100, (6, 5)).astype(np.float32)


def encoded(kind, mode="RGB", **options):
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (6, 5, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def tiff(values, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, **options)
    return stream.getvalue()


def npy(values):
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


@pytest.mark.parametrize("kind, mode, channels, kept", [
    ("PNG", "RGB", 3, True), ("PNG", "LA", 2, True), ("PNG", "P", 3, True), ("JPEG", "L", 1, True),
    ("JPEG", "CMYK", 3, True), ("GIF", "P", 3, True), ("WEBP", "RGB", 3, False), ("TIFF", "L", 1, False),
    ("PPM", "RGB", 3, False), ("BMP", "RGB", 3, True)])
def test_pixels_and_what_is_stored(kind, mode, channels, kept):
    data = encoded(kind, mode)
    image = examine.examine(data)
    assert image.pixels.shape == (6, 5, channels) and image.pixels.dtype == np.uint8
    assert Kind.of(image) == ("uint8", False, 0)
    assert image.bands == (3 if channels >= 3 else 1) and (image.data == data) == kept and not image.turned
    assert (stored(image, raw=False) == data) == kept and examine.size_of(data) == (6, 5)


def test_png_of_another_format_has_the_same_pixels():
    data = encoded("TIFF")
    again = np.asarray(Image.open(io.BytesIO(stored(examine.examine(data), raw=False))))
    np.testing.assert_array_equal(again, np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("data, values, encoded", [
    (tf.io.encode_png(DEEP[..., None]).numpy(), DEEP, True),
    (tf.io.encode_png(BANDS[..., :3]).numpy(), BANDS[..., :3], True),
    (tiff(DEEP), DEEP, True),
    (tiff(DEEP, compression="zlib"), DEEP, True),
    (tiff(BANDS[..., :3], photometric="rgb"), BANDS[..., :3], True),
    (tiff(BANDS, photometric="minisblack", planarconfig="contig"), BANDS, False),
    (tiff(np.moveaxis(BANDS, -1, 0), photometric="minisblack", planarconfig="separate"), BANDS, False),
    (tiff(REAL), REAL, False),
    (tiff(REAL, byteorder=">", compression="zlib"), REAL, False),
    (npy(DEEP), DEEP, True),
    (npy(REAL.astype(np.float64)), REAL, False),
    (npy(BANDS.astype(">u2")), BANDS, False),
    (npy((DEEP // 2).astype(np.int16)), (DEEP // 2).astype(np.float32), False),
    (DEEP, DEEP, True),
    (BANDS[..., :2], BANDS[..., :2], False),
], ids=range(15))
def test_deep_images_and_bands_keep_their_numbers(data, values, encoded):
    values = values if values.ndim == 3 else values[..., None]
    image = examine.examine(data)
    np.testing.assert_array_equal(image.pixels, values)
    assert image.pixels.dtype == values.dtype and examine.size_of(data) == (6, 5)
    assert Kind.of(image) == (values.dtype.name, not encoded, 0 if encoded else values.shape[-1])
    decoder = Decoder((6, 5), values.shape[-1], dtype=values.dtype.name, raw=not encoded)
    np.testing.assert_array_equal(decoder.numbers(stored(image, raw=not encoded)), values)


@pytest.mark.filterwarnings("error")
def test_a_bomb_is_refused_without_decoding(monkeypatch):
    header = b"IHDR" + struct.pack(">II", 10_000, 10_000) + bytes([8, 0, 0, 0, 0])
    png = encoded("PNG")
    bomb = png[:8] + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + png[33:]
    monkeypatch.setattr(examine, "_decoded", lambda *_: pytest.fail("it was decoded"))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(ValueError, match="10000 x 10000 pixels"):
        examine.examine(bomb)


def claiming(height, width, values=DEEP, **options):
    """A TIFF of 6 x 5 that claims another size."""
    data = bytearray(tiff(values, **options))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        tags = file.pages[0].tags
        for name, value in (("ImageLength", height), ("ImageWidth", width), ("RowsPerStrip", height)):
            tag = tags[name]
            data[tag.offset + 8:tag.offset + 12] = struct.pack("<I", value)
    return bytes(data)


def bomb():
    """A deflated strip that unpacks to 64 MB where 60 bytes are due."""
    packed = zlib.compress(bytes(64 * 2 ** 20))
    data = bytearray(tiff(REAL, compression="zlib"))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        tags = file.pages[0].tags
        offset, count = tags["StripOffsets"], tags["StripByteCounts"]
        data[offset.offset + 8:offset.offset + 12] = struct.pack("<I", len(data))
        data[count.offset + 8:count.offset + 12] = struct.pack("<I", len(packed))
    return bytes(data) + packed


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("data, reason", [
    (b"", "the file is empty"), (b"hello", "not an image"), (encoded("JPEG")[:-40], "damaged or truncated"),
    (npy(DEEP)[:-1], "truncated"), (npy(DEEP) + b"x", "longer than its header says"),
    (npy(np.zeros(5, np.uint8)), r"holds uint8 \[5\] but must hold numbers \[h, w\]"),
    (npy(np.array([[None]])), "holds object"), (npy(np.asfortranarray(DEEP)), "by columns"),
    (b"\x93NUMPY\x01\0\x10\0{'descr': '<f8'", "header is damaged"),
    (npy(DEEP).replace(b"(6, 5)", b"(99999, 99999)".ljust(6)[:6]), "header is damaged|truncated|not"),
    (npy(np.int32([[1]])), "its numbers are int32 but must be uint8, uint16 or float32"),
    (np.float32([[1, np.nan]]), "not finite"), (np.zeros((2, 2, 2, 2), np.uint8), "its shape is"),
    (np.zeros((1, 1, 1025), np.uint8), "its shape is"), (np.zeros((0, 3), np.uint8), "0 x 3 pixels"),
    (tiff(DEEP)[:-30], "damaged or"), (tiff(REAL)[:100], "damaged or|not an image"), (b"II*\0" + bytes(60), "damaged"),
    (claiming(60_000, 60_000), "60000 x 60000 pixels|more than"), (claiming(600, 500, REAL), "damaged"),
    (bomb(), "unpacks to more"), (tiff(REAL, compression="lzma"), "compressed by LZMA; save it uncompressed or by"),
    (tiff(REAL.astype(np.float64).astype(np.complex64)), "TIFF|numbers"),
])
def test_unusable_bytes_are_refused_with_the_reason(data, reason):
    with pytest.raises(ValueError, match=reason):
        examine.examine(data)


@pytest.mark.parametrize("values", [np.zeros((7, 20, 20), np.uint16), np.zeros((3, 20, 20), np.uint8)])
def test_a_tiff_of_several_pages_is_refused(values):
    data = tiff(values, photometric="minisblack")
    with pytest.raises(ValueError, match=f"has {len(values)} pages but must hold one image; write the pages as files"):
        examine.examine(data)


def test_a_tiff_with_a_small_copy_of_itself_is_one_image():
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(np.repeat(DEEP, 8, 0), photometric="minisblack")
        writer.write(DEEP, photometric="minisblack", subfiletype=1)
    np.testing.assert_array_equal(examine.pixels(stream.getvalue())[..., 0], np.repeat(DEEP, 8, 0))


def test_of_the_tiles_of_a_file_all_count_and_one_is_listed():
    skipped = examine.Skipped()
    for place in range(5):
        skipped.add(f"deep.png#0_{place}", "16 bits")
        skipped.add("a#1_2/other.png", "no image")
    skipped.extend(2, [{"path": "deep.png#9_9", "reason": "16 bits"}, {"path": "half.jpg#0_0", "reason": "cut short"}])
    facts = skipped.facts()
    assert facts["count"] == 12
    assert [entry["path"] for entry in facts["unreadable"]] == [
        "deep.png#0_0", *["a#1_2/other.png"] * 5, "half.jpg#0_0"]
    with pytest.raises(ValueError, match=r"\(deep.png#0_0: 16 bits; a#1_2/other.png: no image; "):
        skipped.judge(10)
