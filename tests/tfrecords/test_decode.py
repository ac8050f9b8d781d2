import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfrecords import align, decode
from tfrecords.decode import Decoder, height_and_width, size_text
from tfrecords.examine import examine, stored

RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(0, 256, (12, 18, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]
STRINGS = tf.TensorSpec([None], tf.string)


def encoded(image, kind="PNG", **options):
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, kind, **options)
    return stream.getvalue()


def pillow(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def png_that_claims(height, width):
    header = struct.pack(">II", width, height) + bytes([8, 0, 0, 0, 0])
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def with_frame(gif, width, height):
    """The same GIF whose first frame claims another size."""
    data = bytearray(gif)
    place = data.index(b"\x2c", 13 + 3 * 2 ** (data[10] % 8 + 1))
    data[place + 5 : place + 9] = struct.pack("<HH", width, height)
    return bytes(data)


IMAGES = {
    "rgb": encoded(COLOUR),
    "grey": encoded(GREY),
    "one_bit": encoded(Image.fromarray(GREY).convert("1")),
    "palette": encoded(Image.fromarray(COLOUR).convert("P")),
    "alpha": encoded(np.dstack([COLOUR, GREY])),
    "grey_alpha": encoded(Image.fromarray(np.dstack([GREY, GREY]), "LA")),
    "jpeg": encoded(COLOUR, "JPEG", quality=95),
    "grey_jpeg": encoded(GREY, "JPEG", quality=95),
    "progressive": encoded(COLOUR, "JPEG", quality=95, progressive=True),
    "cmyk": encoded(Image.fromarray(COLOUR).convert("CMYK"), "JPEG", quality=95),
    "gif": encoded(COLOUR, "GIF"),
    "animation": encoded(
        COLOUR,
        "GIF",
        save_all=True,
        append_images=[Image.fromarray(COLOUR[::-1].copy())] * 2,
        comment=b"two" * 200,
    ),
    "bmp": encoded(COLOUR, "BMP"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_colour_equals_pillow(name):
    expected = pillow(IMAGES[name])
    if name == "grey_alpha":
        expected = np.repeat(GREY[..., None], 3, 2)
    if name == "alpha":
        expected = COLOUR
    found = Decoder((12, 18), 3).image(IMAGES[name]).numpy() * 255
    # TensorFlow's cosine transform is the fast one, Pillow's the exact one;
    # on noise they differ by a few levels.
    limit = {"jpeg": 8, "grey_jpeg": 8, "progressive": 8, "cmyk": 10}.get(name, 1e-4)
    assert found.dtype == np.float32 and np.abs(found - expected).max() <= limit


@pytest.mark.parametrize("name", ["rgb", "alpha", "palette", "grey", "grey_alpha", "grey_jpeg"])
def test_grey_is_the_luma(name):
    colour = Decoder((12, 18), 3).image(IMAGES[name]).numpy()
    found = Decoder((12, 18), 1).image(IMAGES[name]).numpy()
    assert found.shape == (12, 18, 1)
    np.testing.assert_allclose(found[..., 0], colour @ np.float32([0.299, 0.587, 0.114]), atol=1e-6)


def test_grey_images_stay_exact():
    np.testing.assert_array_equal(Decoder((12, 18), 1).image(IMAGES["grey"])[..., 0], GREY / np.float32(255))


@pytest.mark.parametrize("fit", ["stretch", "pad"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, (12, 18), (40, 20), (5, 60)])
def test_tensor_equals_images(size, channels, fit):
    decoder = Decoder(size, channels, fit)
    for image, name in ((COLOUR, "rgb"), (GREY[..., None], "grey")):
        by_tensor = decoder.tensor(image[None].astype(np.float32))
        by_images = decoder.images([IMAGES[name]])
        assert by_tensor.shape == by_images.shape == (1, *decoder.size, channels)
        np.testing.assert_allclose(by_tensor, by_images, atol=1e-6)


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_eager_graph_and_saved_model_agree(fit, tmp_path):
    decoder = Decoder((9, 7), 3, fit)
    data = list(IMAGES.values())
    module = tf.Module()
    module.images = tf.function(decoder.images, input_signature=[STRINGS])
    module.tensor = tf.function(
        decoder.tensor, input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)]
    )
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    eager = np.stack([decoder.image(one) for one in data])
    np.testing.assert_allclose(module.images(data), eager, atol=1e-6)
    np.testing.assert_allclose(loaded.images(tf.constant(data)), eager, atol=1e-6)
    np.testing.assert_allclose(loaded.tensor(COLOUR[None].astype(np.float32))[0], eager[0], atol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="50000 x 50000 pixels"):
        loaded.images(tf.constant([data[0], png_that_claims(50_000, 50_000)]))


def test_no_images_at_all():
    decoder = Decoder(8, 3)
    empty = tf.constant([], tf.string)
    assert decoder.images(empty).shape == (0, 8, 8, 3)
    assert tf.function(decoder.images, input_signature=[STRINGS])(empty).shape == (0, 8, 8, 3)
    assert decoder.tensor(np.zeros((0, 5, 5, 3), np.float32)).shape == (0, 8, 8, 3)


def test_padding_keeps_the_aspect_and_fills_with_the_mean():
    image = np.full((10, 20, 3), (200, 100, 0), np.uint8)
    image[:, ::2] = (100, 100, 0)
    found = Decoder(20, 3, "pad").image(encoded(image)).numpy() * 255
    np.testing.assert_allclose(found[5:15], image, atol=1e-3)
    np.testing.assert_allclose(found[:5], np.broadcast_to((150, 100, 0), (5, 20, 3)), atol=1e-3)
    np.testing.assert_allclose(found[15:], np.broadcast_to((150, 100, 0), (5, 20, 3)), atol=1e-3)


def test_an_extreme_aspect_keeps_at_least_one_pixel():
    assert np.isfinite(Decoder(8, 1, "pad").image(encoded(np.full((1, 300), 9, np.uint8)))).all()


def test_shrinking_is_antialiased():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    found = Decoder(8, 1).image(encoded(stripes)).numpy()
    np.testing.assert_allclose(found, 0.5, atol=0.05)


def test_values_stay_in_range():
    found = Decoder(4, 3).tensor(np.array([[[[-50.0, 300.0, 127.5]]]], np.float32)).numpy()
    np.testing.assert_allclose(found[0, 0, 0], (0, 1, 0.5), atol=1e-6)


def test_of_an_animation_only_the_first_frame_reaches_the_decoder():
    one = encoded(Image.open(io.BytesIO(IMAGES["animation"])), "GIF", save_all=False)
    np.testing.assert_array_equal(decode.decode(IMAGES["animation"]), decode.decode(one))
    # Behind the first frame anything may follow, even a frame of 3.6 gigapixels.
    start = IMAGES["gif"][:-1]
    frame = with_frame(IMAGES["gif"], 60_000, 60_000)[start.index(b"\x2c", 13 + 768) :]
    np.testing.assert_array_equal(decode.decode(start + frame), decode.decode(IMAGES["gif"]))


def sub_blocks(sizes):
    return b"".join(bytes([size]) + RANDOM.bytes(size) for size in sizes) + b"\0"


def end_of_first_frame(data):
    """As the format says it, block by block."""
    def table(flags):
        return 3 * 2 ** (flags % 8 + 1) if flags >= 128 else 0

    place = 13 + table(data[10])
    while True:
        frame = data[place] == 0x2C
        assert frame or data[place] == 0x21
        place += 11 + table(data[place + 9]) if frame else 2
        while data[place]:
            place += data[place] + 1
        place += 1
        if frame:
            return place


@pytest.mark.parametrize("most", [1, 2, 40, 255])
def test_the_first_frame_ends_where_its_blocks_do(most, monkeypatch):
    reached = []
    monkeypatch.setattr(tf.io, "decode_image",
                        lambda data, **_: reached.append(data.numpy()) or tf.zeros([1, 1, 3], tf.uint8))
    for count in (0, 1, 2, 3, 3500 // (most + 1)):  # some windows long
        for flags, extensions in ((0, 0), (0x81, 1), (0x83, 3), (0, 400 if most < 40 else 2)):
            sizes = [RANDOM.integers(1, most + 1, count) for _ in range(2)]
            data = b"GIF89a" + struct.pack("<HH", 4, 3) + bytes([flags, 0, 0])
            data += RANDOM.bytes(3 * 2 ** (flags % 8 + 1)) if flags else b""
            data += b"".join(b"\x21\x2c" + sub_blocks(sizes[0] if not i else [1]) for i in range(extensions))
            data += b"\x2c" + struct.pack("<HHHH", 0, 0, 4, 3) + bytes([flags])
            data += RANDOM.bytes(3 * 2 ** (flags % 8 + 1)) if flags else b""
            data += b"\x08" + sub_blocks(sizes[1])
            end = len(data)
            assert end_of_first_frame(data) == end
            bomb = b"\x21\xfe\x01x\0\x2c" + bytes(4) + struct.pack("<HH", 60_000, 60_000) + bytes(9)
            for behind in (b";", bomb):
                decode.decode(data + behind)
                assert reached.pop() == data + b";"


def test_the_walk_through_a_gif_is_short_whatever_its_blocks(monkeypatch):
    steps = []
    loop = tf.while_loop

    def counted(condition, body, *arguments, **options):
        return loop(condition, lambda *state: steps.append(1) or body(*state), *arguments, **options)

    monkeypatch.setattr(tf, "while_loop", counted)
    gif, start = IMAGES["gif"], 13 + 768
    for blocks in (b"\x21\xfe" + b"\x01x" * 10_000 + b"\0", b"\x21\xfe\x01x\0" * 4_000):
        steps.clear()
        data = gif[:start] + blocks + gif[start:]
        np.testing.assert_array_equal(decode.decode(data), decode.decode(gif))
        assert len(steps) < len(data) / 500
    start = gif.index(b"\x2c", start) + 11
    with pytest.raises(tf.errors.InvalidArgumentError, match="GIF"):
        steps.clear()
        decode.decode(gif[:start] + b"\x01\x00" * 10_000)
    assert len(steps) < 50


@pytest.mark.parametrize("name", ["rgb", "jpeg", "gif", "bmp"])
def test_the_images_of_a_call_are_bounded_together(name):
    decoder, data = Decoder(8, 3), [IMAGES[name]] * 3
    assert decoder.images(data, most_pixels=3 * 12 * 18).shape == (3, 8, 8, 3)
    limited = tf.function(lambda data: decoder.images(data, most_pixels=3 * 12 * 18 - 1),
                          input_signature=[STRINGS])
    assert limited(data[:2]).shape == (2, 8, 8, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="have 648 pixels .* most 647; send fewer"):
        limited(data)


def test_without_being_asked_four_of_the_largest_images_are_the_most(monkeypatch):
    monkeypatch.setattr(tf.io, "decode_image", lambda *_, **__: tf.zeros([1, 1, 3], tf.uint8))
    large = [png_that_claims(7_000, 7_000)] * 5
    assert Decoder(8, 3).images(large[:4]).shape == (4, 8, 8, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="have 245000000 pixels .* most 200000000"):
        Decoder(8, 3).images(large)
    assert Decoder(8, 3).images(large, most_pixels=None).shape == (5, 8, 8, 3)


def test_a_known_number_of_images_stays_known():
    function = tf.function(Decoder(8, 3).images, input_signature=[tf.TensorSpec([4], tf.string)])
    assert function.get_concrete_function().structured_outputs.shape == (4, 8, 8, 3)


def test_at_most_two_images_are_decoded_at_once():
    graph = tf.function(Decoder(8, 3).images, input_signature=[STRINGS]).get_concrete_function().graph
    loops = [operation for operation in graph.get_operations() if "While" in operation.type]
    assert [loop.get_attr("parallel_iterations") for loop in loops] == [2]


@pytest.mark.parametrize(
    "data, text",
    [
        (png_that_claims(10_000, 10_000), "10000 x 10000 pixels"),
        (png_that_claims(2**32 - 1, 2**32 - 1), "4294967295 x 4294967295 pixels"),
        (png_that_claims(0, 5), "0 x 5 pixels"),
        (with_frame(IMAGES["gif"], 60_000, 50_000), "50000 x 60000 pixels"),
        (IMAGES["gif"][:6] + struct.pack("<HH", 60_000, 50_000) + IMAGES["gif"][10:], "50000 x 60000 pixels"),
        (IMAGES["gif"][: 13 + 768] + b";", "0 x 0 pixels"),
        (
            IMAGES["bmp"][:18] + struct.pack("<ii", 30_000, -20_000) + IMAGES["bmp"][26:],
            "20000 x 30000 pixels",
        ),
        (IMAGES["bmp"][:18] + struct.pack("<ii", -(2**31), 1) + IMAGES["bmp"][26:], "1 x 2147483648 pixels"),
        (
            IMAGES["jpeg"].replace(struct.pack(">HH", 12, 18), struct.pack(">HH", 60_000, 60_000)),
            "60000 x 60000 pixels",
        ),
        (b"", "send PNG, JPEG, GIF or BMP"),
        (b"x", "send PNG, JPEG, GIF or BMP"),
        (b"%PDF-1.7 and so on, long enough for a header", "send PNG, JPEG, GIF or BMP"),
        (encoded(COLOUR, "TIFF"), "send PNG, JPEG, GIF or BMP"),
    ],
)
def test_bombs_and_strangers_are_refused_before_decoding(data, text, monkeypatch):
    monkeypatch.setattr(tf.io, "decode_image", lambda *_, **__: pytest.fail("it was decoded"))
    with pytest.raises(tf.errors.InvalidArgumentError, match=text):
        decode.decode(data)


def test_the_guard_sits_in_the_graph():
    function = tf.function(Decoder(8, 3).images, input_signature=[STRINGS])
    for data, text in (
        (png_that_claims(10_000, 10_000), "10000 x 10000 pixels"),
        (with_frame(IMAGES["gif"], 60_000, 50_000), "50000 x 60000 pixels"),
        (b"hello", "send PNG, JPEG, GIF or BMP"),
        (IMAGES["rgb"][:60], "PNG"),
        (IMAGES["jpeg"][:-30], "JPEG"),
        (IMAGES["gif"][:-40], "GIF"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=text):
            function([IMAGES["rgb"], data])


@pytest.mark.parametrize(
    "arguments, text",
    [
        ((0, 3), "`size`"),
        ((8, 2), "`channels` is 2"),
        ((8, 3, "crop"), "`fit` is 'crop'"),
        (((8, 8, 8), 3), "`size`"),
        ((10_000, 1), "`size`"),
    ],
)
def test_the_constructor_refuses(arguments, text):
    with pytest.raises(ValueError, match=text):
        Decoder(*arguments)


@pytest.mark.parametrize("size, told", [
    (0, "`size` is 0 but"), (-3, "`size` is -3 but"), ((64, 0), r"`size` is \(64, 0\) but"), ((8, -8), "but must be"),
    ((8, 8, 8), "8, 8, 8"), ((8,), r"\(8,\)"), ((), r"\(\)"), ("64", "`size` is '64' but"), ("(64, 32)", "but must be"),
    (("a", 8), "but must be"), (True, "`size` is True but"), ((True, 8), "but must be"), (8.0, "`size` is 8.0 but"),
    ((8, 8.5), "but must be"), (None, "`size` is None but"), ((8000, 8000), "50,000,000 in all"),
    ((2 ** 40, 2 ** 40), "50,000,000 in all")])
def test_a_size_is_one_or_two_whole_numbers(size, told):
    with pytest.raises(ValueError, match=told) as error:
        height_and_width(size)
    assert str(error.value).endswith("; use 64, or (256, 128).")


def test_sizes():
    assert height_and_width(9) == (9, 9) and height_and_width((256, 128)) == height_and_width([256, 128]) == (256, 128)
    assert [size_text(*height_and_width(size)) for size in (9, [256, 128])] == ["9", "(256, 128)"]
    assert height_and_width(np.int64(9)) == (9, 9) and Decoder((np.int32(4), 6), 1).size == (4, 6)


# ---- 16 bits, raw images, crops, alignment

DEEP = RANDOM.integers(300, 4096, (12, 18, 3)).astype(np.uint16)
DEEP_PNG = tf.io.encode_png(DEEP).numpy()
BANDS = RANDOM.normal(5, 2, (12, 18, 7)).astype(np.float32)
RAW = stored(examine(BANDS), raw=True)


def test_sixteen_bits_keep_their_steps_and_their_bounds():
    low, high = DEEP.min(axis=(0, 1)), DEEP.max(axis=(0, 1))
    decoder = Decoder((12, 18), 3, dtype="uint16", low=low, high=high)
    wanted = (DEEP.astype(np.float64) - low) / (high - low)
    for found in (decoder.images([DEEP_PNG])[0], decoder.image(DEEP_PNG), decoder.tensor(DEEP[None])[0]):
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert len(np.unique(np.asarray(decoder.image(DEEP_PNG))[..., 0])) == len(np.unique(DEEP[..., 0]))


def test_raw_bands_come_back():
    low, high = BANDS.min(axis=(0, 1)), BANDS.max(axis=(0, 1))
    decoder = Decoder((12, 18), 7, dtype="float32", raw=True, low=low, high=high)
    np.testing.assert_allclose(decoder.images([RAW, RAW])[1], (BANDS - low) / (high - low), atol=1e-6)
    np.testing.assert_allclose(decoder.tensor(BANDS[None])[0], decoder.image(RAW), atol=1e-7)
    half = Decoder((6, 9), 7, dtype="float32", raw=True, low=low, high=high).image(RAW)
    assert half.shape == (6, 9, 7)


@pytest.mark.parametrize("dtype, data, text", [
    ("uint8", DEEP_PNG, "16 bits a channel but this model was trained on 8"),
    ("uint16", IMAGES["rgb"], "no PNG of 16 bits"), ("uint16", IMAGES["jpeg"], "no PNG of 16 bits"),
])
def test_another_depth_is_refused(dtype, data, text):
    with pytest.raises(tf.errors.InvalidArgumentError, match=text):
        Decoder(8, 3, dtype=dtype, high=4096.0).images([data])


@pytest.mark.parametrize("data", [RAW[:-1], RAW[:12], RAW[:5], b"", RAW + b"1234"])
def test_raw_bytes_of_another_length_are_refused(data):
    with pytest.raises(tf.errors.InvalidArgumentError):
        Decoder((12, 18), 7, dtype="float32", raw=True).image(data)


@pytest.mark.parametrize("name", ["rgb", "grey", "jpeg", "gif", "palette"])
@pytest.mark.parametrize("box", [(0, 0, 12, 18), (3, 5, 6, 7), (11, 17, 1, 1)])
def test_a_crop_is_that_part_of_the_whole_image(name, box):
    decoder = Decoder((5, 4), 3)
    y, x, height, width = box
    part = decoder.numbers(IMAGES[name])[y:y + height, x:x + width]
    wanted = np.clip(tf.image.resize(part, (5, 4), antialias=True) / 255, 0, 1)
    # libjpeg smooths chroma at the border of what it decodes.
    np.testing.assert_allclose(decoder.crop(IMAGES[name], box), wanted, atol=0.2 if name == "jpeg" else 1e-6)
    if name == "jpeg":
        assert np.abs(decoder.crop(IMAGES[name], box) - wanted).mean() < 0.05
    mirrored = decoder.crop(IMAGES[name], (y, x, height, -width))
    np.testing.assert_array_equal(mirrored, decoder.crop(IMAGES[name], box)[:, ::-1])


def test_a_crop_of_a_huge_image_is_refused_by_its_header():
    with pytest.raises(tf.errors.InvalidArgumentError, match="10000 x 10000 pixels"):
        Decoder(8, 3).crop(png_that_claims(10_000, 10_000), [0, 0, 4, 4])


def test_images_are_aligned_as_they_were_when_written():
    image = np.repeat(np.repeat(RANDOM.integers(0, 256, (20, 24, 3), dtype=np.uint8), 4, 0), 4, 1)
    points = np.array([[30, 30], [60, 34], [44, 48], [30, 62], [56, 66]], np.float32)
    written = np.rint(align.align(image[None].astype(np.float32), points[None], 32)[0]).astype(np.uint8)
    decoder = Decoder(24, 3, aligned=32)
    found = tf.function(decoder.images)([encoded(image)], landmarks=points[None])
    np.testing.assert_allclose(found[0], decoder.images([encoded(written)])[0], atol=1e-6)


@pytest.mark.parametrize("words, text", [
    ({"dtype": "float32"}, "`dtype` is 'float32' but must be uint8 or uint16"),
    ({"dtype": "int8", "raw": True}, "`dtype` is 'int8'"), ({"high": 0.0}, "`high` is .* but must be above `low`"),
    ({"channels": 7}, "`channels` is 7"), ({"channels": 0, "raw": True}, "`channels` is 0"),
])
def test_forms_that_do_not_exist_are_refused(words, text):
    with pytest.raises(ValueError, match=text):
        Decoder(**{"size": 8, "channels": 3, **words})


def test_a_whole_image_is_as_large_as_it_is_and_in_the_range():
    for size in ((12, 18), 4):
        found = Decoder(size, 3).whole(IMAGES["rgb"]).numpy()
        np.testing.assert_allclose(found, COLOUR / np.float32(255), atol=1e-7)
    low, high = Decoder(4, 1).whole(IMAGES["rgb"]), Decoder(4, 1, low=100.0, high=200.0).whole(IMAGES["rgb"]).numpy()
    assert low.shape == (12, 18, 1)
    np.testing.assert_allclose(high, np.clip((low.numpy() * 255 - 100) / 100, 0, 1), atol=1e-5)


@pytest.mark.parametrize("name", ["jpeg", "grey_jpeg", "progressive"])
def test_a_jpeg_has_the_pixels_that_pillow_gives(name):
    found = Decoder((12, 18), 3).numbers(IMAGES[name])
    np.testing.assert_array_equal(found, pillow(IMAGES[name]))


def test_a_raw_image_is_cropped_as_well():
    decoder = Decoder((3, 4), 7, dtype="float32", raw=True, low=BANDS.min(axis=(0, 1)), high=BANDS.max(axis=(0, 1)))
    wanted = (BANDS[2:5, 6:10] - decoder.low) / (decoder.high - decoder.low)
    np.testing.assert_allclose(decoder.crop(RAW, (2, 6, 3, 4)), wanted, atol=1e-6)


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), np.nan), 0.1 * np.arange(10).reshape(5, 2),
                                    500 + 5 * np.arange(10).reshape(5, 2), -9 - 5 * np.arange(10).reshape(5, 2)])
def test_landmarks_that_lie_in_no_place_of_the_image_are_refused(points):
    decoder = Decoder(24, 3, aligned=32)
    with pytest.raises(tf.errors.InvalidArgumentError, match="do not lie in the image of 12 x 18 pixels"):
        decoder.images([IMAGES["rgb"]], landmarks=points[None].astype(np.float32))


# ---- images of the very size alone

def test_exactly_is_the_same_decoder_for_images_of_its_size():
    decoder = Decoder((12, 18), 3)
    exact = decoder.exactly()
    for data in (IMAGES["rgb"], IMAGES["palette"], IMAGES["bmp"], IMAGES["gif"], IMAGES["jpeg"]):
        np.testing.assert_array_equal(exact.images([data, data]), decoder.images([data, data]))
        np.testing.assert_array_equal(exact.image(data), decoder.image(data))
    values = COLOUR[None].astype(np.float32)
    np.testing.assert_array_equal(exact.tensor(values), decoder.tensor(values))
    assert exact.images(tf.constant([], tf.string)).shape == (0, 12, 18, 3)
    assert decoder.images([encoded(COLOUR[:5])]).shape == (1, 12, 18, 3), "the other one is as it was"


@pytest.mark.parametrize("image, text", [
    (COLOUR[:11], r"an image of 11 x 18 pixels \(height x width\) cannot be judged: this model tells by single pixels "
                  "and was trained on images of 12 x 18, so that resampling would mislead it; send an image of that "
                  "size, as it was made"),
    (COLOUR.transpose(1, 0, 2), "an image of 18 x 12 pixels"), (np.repeat(COLOUR, 2, 1), "an image of 12 x 36 pixels"),
    (GREY, r"an image of 1 channels cannot be judged: this model was trained on images of 3 \(colour\); send such"),
])
def test_exactly_refuses_other_images_with_a_sentence(image, text):
    exact = Decoder((12, 18), 3).exactly()
    for call in (exact.image, lambda data: exact.images([IMAGES["rgb"], data]),
                 tf.function(exact.image, input_signature=[tf.TensorSpec([], tf.string)]),
                 lambda data: tf.function(exact.images, input_signature=[STRINGS])([IMAGES["rgb"], data])):
        with pytest.raises(tf.errors.InvalidArgumentError, match=text):
            call(encoded(image))


def test_exactly_refuses_colour_where_the_model_knows_grey():
    exact = Decoder((12, 18), 1).exactly()
    assert exact.images([IMAGES["grey"]]).shape == (1, 12, 18, 1)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"an image of 3 channels .* of 1 \(grey\)"):
        exact.images([IMAGES["rgb"]])


@pytest.mark.parametrize("channels, name", [(3, "alpha"), (1, "grey_alpha")])
def test_alpha_is_dropped_by_exactly_too_as_the_training_drops_it(channels, name):
    decoder = Decoder((12, 18), channels)
    np.testing.assert_array_equal(decoder.exactly().images([IMAGES[name]]), decoder.images([IMAGES[name]]))


def test_exactly_holds_for_numbers_and_in_a_saved_model(tmp_path):
    exact = Decoder((12, 18), 3).exactly()
    module = tf.Module()
    module.images = tf.function(exact.images, input_signature=[STRINGS])
    module.tensor = tf.function(exact.tensor, input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)])
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    assert loaded.images(tf.constant([IMAGES["rgb"]] * 2)).shape == (2, 12, 18, 3)
    assert loaded.tensor(tf.zeros([2, 12, 18, 3])).shape == (2, 12, 18, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="an image of 12 x 17 pixels"):
        loaded.tensor(tf.zeros([2, 12, 17, 3]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="an image of 1 channels"):
        loaded.images(tf.constant([IMAGES["rgb"], IMAGES["grey"]]))
    raw = Decoder((12, 18), 7, dtype="float32", raw=True, high=9.0).exactly()
    np.testing.assert_array_equal(raw.images([RAW]), Decoder((12, 18), 7, dtype="float32", raw=True,
                                                             high=9.0).images([RAW]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="an image of 11 x 18 pixels"):
        raw.images([stored(examine(BANDS[1:]), raw=True)])


def test_exactly_takes_grey_and_colour_where_both_were_trained_on():
    both = Decoder((12, 18), 3).exactly(channels=False)
    for name in ("rgb", "grey", "alpha", "grey_alpha"):
        np.testing.assert_array_equal(both.images([IMAGES[name]]), Decoder((12, 18), 3).images([IMAGES[name]]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="an image of 11 x 18 pixels"):
        both.images([encoded(GREY[1:])])


def test_without_colour_takes_grey_stored_as_colour_and_refuses_true_colour():
    grey = np.random.default_rng(3).integers(0, 256, (16, 16), np.uint8)
    decoder = Decoder(16, 1).without_colour()
    plain = Decoder(16, 1).image(encoded(grey)).numpy()
    thrice = np.repeat(grey[..., None], 3, axis=2)
    for kind, atol in (("PNG", 1e-6), ("JPEG", 0.4)):
        np.testing.assert_allclose(decoder.image(encoded(thrice, kind)), plain, atol=atol)
    np.testing.assert_array_equal(decoder.image(encoded(grey)), plain)
    stained = thrice.copy()
    stained[..., 1] //= 2
    for data in (encoded(stained), encoded(stained, "JPEG")):
        for call, given in ((decoder.image, data), (decoder.images, [encoded(grey), data])):
            with pytest.raises(tf.errors.InvalidArgumentError, match="in colour but this model was trained on grey"):
                call(given)
    many = np.repeat(thrice[None], 40, axis=0)
    np.testing.assert_allclose(decoder.tensor(many)[0], plain, atol=1e-6)
    assert decoder.tensor(many[:0]).shape == (0, 16, 16, 1)
    many[7] = stained
    with pytest.raises(tf.errors.InvalidArgumentError, match="in colour"):
        decoder.tensor(many)
    Decoder(16, 1).image(encoded(stained))
    np.testing.assert_array_equal(Decoder(16, 3).without_colour().image(encoded(stained)),
                                  Decoder(16, 3).image(encoded(stained)))
