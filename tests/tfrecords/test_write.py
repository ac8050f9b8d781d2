import errno
import functools
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfrecords import schema, write
from tfrecords.cuts import TileSource
from tfrecords.decode import Decoder
from tfrecords.read import Records
from tfrecords.shards import natural_order
from tfrecords.sources.folder import FolderSource
from tfrecords.sources.omniglot_runs import OmniglotRunsSource

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = pathlib.Path(os.environ.get("SUITE_DATA", ROOT.parent / "shared" / "data"))
RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(0, 256, (12, 18, 3), dtype=np.uint8)
GREY = COLOUR[..., 0].copy()


class Source:
    """Items from a list of (path, bytes or an error, columns)."""

    description = {"source": "list"}

    def __init__(self, *items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __iter__(self):
        for path, data, columns in self.items:
            yield schema.Item(path, functools.partial(self.read, data), columns)

    @staticmethod
    def read(data):
        if isinstance(data, Exception):
            raise data
        return data


def encoded(image, kind="PNG", **options):
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, kind, **options)
    return stream.getvalue()


PNG = encoded(GREY)
JPEG = encoded(COLOUR, "JPEG")


def many(count, columns=None):
    return [(f"{i}.png", PNG, columns or {}) for i in range(count)]


def huge_png():
    header = b"IHDR" + struct.pack(">II", 10_000, 10_000) + bytes([8, 0, 0, 0, 0])
    return PNG[:8] + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + PNG[33:]


def sixteen_bit_colour_png():
    return tf.io.encode_png(np.full((3, 3, 3), 40_000, np.uint16)).numpy()


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_names_numbers_and_texts_come_back(tmp_path):
    source = Source(
        ("a", PNG, {"identity": "10", "frame": "7"}),
        ("b", JPEG, {"identity": "9", "name": "Bo"}),
        ("c", PNG, {"identity": "-1", "camera": "left", "role": "none"}),
        ("d", PNG, {"role": "query"}),
    )
    manifest = write.write([source], tmp_path / "d", shards=2)
    data = Records(tmp_path / "d")
    assert manifest == data.manifest
    assert manifest["columns"] == ["identity", "camera", "role", "frame", "name"]
    assert manifest["names"] == {"identity": ["-1", "9", "10"], "camera": ["left"], "role": ["query"]}
    assert data.column("identity").tolist() == [2, 1, 0, -1]
    assert data.column("frame").tolist() == [7, -1, -1, -1]
    assert data.column("role").tolist() == [-1, -1, -1, 0]
    assert data.values("name", range(4)) == ["", "Bo", "", ""]
    assert data.images(range(4)) == [PNG, JPEG, PNG, PNG] and data.paths([3, 0]) == ["d", "a"]
    assert (manifest["count"], manifest["channels"], data.column("channels").tolist()) == (4, 3, [1, 3, 1, 1])
    rows = data.rows(range(4))
    assert [row["index"] for row in rows] == [0, 1, 2, 3]
    assert all((row["height"], row["width"]) == (12, 18) for row in rows)


def test_natural_order():
    assert natural_order(str(i) for i in (10, 9, 1, 40, 2)) == ["1", "2", "9", "10", "40"]
    assert natural_order(["s10", "s9", "s1", "s01"]) == ["s01", "s1", "s9", "s10"]
    assert natural_order(["b", "10", "9", "a1b10", "a1b9"]) == ["9", "10", "a1b9", "a1b10", "b"]
    assert natural_order(["1" * 5000, "2"]) == ["2", "1" * 5000]


def test_manifest_describes_the_files(tmp_path):
    source = Source(*many(5, {"split": "train"}), ("x.png", encoded(GREY[:4, :6]), {"split": "test"}))
    manifest = write.write([source], tmp_path / "d", shards=4, name="set")
    files = contents(tmp_path / "d")
    assert sorted(files) == ["index.npz", "manifest.json"] + [
        f"set-0000{i}-of-00004.tfrecord" for i in range(4)
    ]
    for shard in manifest["shards"]:
        data = files[shard["file"]]
        assert (len(data), hashlib.sha256(data).hexdigest()) == (shard["bytes"], shard["sha256"])
    assert [shard["count"] for shard in manifest["shards"]] == [1, 2, 1, 2]
    assert (
        manifest["data_sha256"]
        == hashlib.sha256("".join(shard["sha256"] for shard in manifest["shards"]).encode()).hexdigest()
    )
    assert manifest["splits"] == {"test": 1, "train": 5} and manifest["channels"] == 1
    assert manifest["sizes"] == {"minimum": [4, 6], "median": [12, 18], "maximum": [12, 18]}
    assert str(tmp_path) not in files["manifest.json"].decode()


def test_index_agrees_with_tensorflows_own_reader(tmp_path):
    manifest = write.write([Source(*many(7, {"label": 1}))], tmp_path / "d", shards=3)
    index = np.load(tmp_path / "d" / "index.npz")
    row = 0
    for number, shard in enumerate(manifest["shards"]):
        raw = (tmp_path / "d" / shard["file"]).read_bytes()
        for record in tf.data.TFRecordDataset(str(tmp_path / "d" / shard["file"])).as_numpy_iterator():
            offset, length = index["offset"][row], index["length"][row]
            assert index["shard"][row] == number and raw[offset : offset + length] == record
            assert index["crc"][row] == zlib.crc32(record) and schema.parse(record)["index"] == row
            row += 1
    assert row == 7
    types = {name: str(index[name].dtype) for name in index.files}
    assert types == {
        "shard": "int32",
        "offset": "int64",
        "length": "int64",
        "crc": "uint32",
        "height": "int32",
        "width": "int32",
        "channels": "int16",
        "index": "int64",
        "label": "int64",
    }


def test_two_writes_are_byte_identical(tmp_path):
    for name in ("one", "two"):
        write.write([Source(*many(5, {"label": "a"}))], tmp_path / name, shards=2, name="set")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_folder_and_zip_are_byte_identical(tmp_path):
    folder = tmp_path / "photos"
    for i, name in enumerate(("s2/1.png", "s10/1.png", "s1/1.jpg")):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(JPEG if name.endswith("jpg") else encoded(GREY[i:]))
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in folder.rglob("*.*"):
            archive.write(path, str(path.relative_to(folder)))
    written = []
    for name, place in (("one", folder), ("two", tmp_path / "photos.zip")):
        write.write([FolderSource(place)], tmp_path / name, name="set")
        written.append(
            {file: data for file, data in contents(tmp_path / name).items() if file != "manifest.json"}
        )
    assert written[0] == written[1]
    assert Records(tmp_path / "two").values("label", [0, 1, 2]) == ["s1", "s10", "s2"]


@pytest.mark.parametrize(
    "name, data",
    {
        "tiff": encoded(COLOUR, "TIFF"),
        "webp": encoded(COLOUR, "WEBP", lossless=True),
        "ppm": encoded(COLOUR, "PPM"),
        "palette_bmp": encoded(Image.fromarray(COLOUR).quantize(256), "BMP"),
        "one_bit_bmp": encoded(Image.fromarray(GREY).convert("1"), "BMP"),
        "grey_tiff": encoded(GREY, "TIFF"),
        "pgm": encoded(GREY, "PPM"),
        "alpha_webp": encoded(np.dstack([COLOUR, GREY]), "WEBP", lossless=True, exact=True),
    }.items(),
)
def test_other_formats_become_png_without_loss(tmp_path, name, data):
    manifest = write.write([Source(("a." + name, data, {}))], tmp_path / "d")
    stored = Records(tmp_path / "d").images([0])[0]
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert stored.startswith(b"\x89PNG") and manifest["skipped"]["count"] == 0
    np.testing.assert_array_equal(np.rint(Decoder(expected.shape[:2], 3).image(stored) * 255), expected)


@pytest.mark.parametrize(
    "data",
    [
        PNG,
        JPEG,
        encoded(COLOUR, "GIF"),
        encoded(COLOUR, "BMP"),
        encoded(GREY, "BMP"),
        encoded(Image.fromarray(COLOUR).convert("CMYK"), "JPEG"),
        encoded(Image.fromarray(COLOUR).convert("P")),
    ],
)
def test_formats_of_the_decoder_keep_their_bytes(tmp_path, data):
    write.write([Source(("a", data, {}))], tmp_path / "d")
    assert Records(tmp_path / "d").images([0]) == [data]


BAD = {
    "truncated.jpg": (JPEG[:-60], "damaged or truncated"),
    "truncated.png": (PNG[:-20], "damaged or truncated"),
    "truncated.gif": (encoded(COLOUR, "GIF")[:-30], "damaged or truncated"),
    "truncated.bmp": (encoded(COLOUR, "BMP")[:-30], "damaged or truncated"),
    "truncated.tif": (encoded(COLOUR, "TIFF")[:-200], "damaged or truncated|not an image"),
    "text.png": (b"this is no image at all, only text", "not an image"),
    "empty.png": (b"", "empty"),
    "huge.png": (huge_png(), "10000 x 10000 pixels are not 1 to 50,000,000"),
    "deep.png": (encoded(np.full((3, 3), 40_000, np.uint16)), "its pixels are uint16 but the first image's are uint8"),
    "deep_colour.png": (sixteen_bit_colour_png(), "its pixels are uint16 but the first"),
    "deep.tif": (encoded(np.full((3, 3), 40_000, np.uint16), "TIFF"), "its pixels are uint16 but the first"),
    "deep.pgm": (b"P5 # a comment\n2 2 65535\n" + bytes(8), "PPM images of more than 8 bits are not read; convert"),
    "deep.ppm": (b"P6\n1 1\n1023\n" + bytes(6), "PPM images of more than 8 bits are not read"),
    "postscript.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    "denied.png": (
        PermissionError(errno.EACCES, "Permission denied", "/somewhere/denied.png"),
        "^Permission denied$",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_unusable_files_are_skipped_and_listed(tmp_path, name):
    data, reason = BAD[name]
    items = many(40)
    items.insert(3, (name, data, {"label": "only here"}))
    manifest = write.write([Source(*items)], tmp_path / "d")
    assert manifest["count"] == 40 and manifest["skipped"]["count"] == 1
    (entry,) = manifest["skipped"]["unreadable"]
    assert entry["path"] == name and re.search(reason, entry["reason"])
    data = Records(tmp_path / "d")
    # The index is the place in the listing: it stays what it is when the file has been repaired.
    wanted = [i for i in range(41) if i != 3]
    assert [row["index"] for row in data.rows(range(40))] == data.column("index").tolist() == wanted
    assert manifest["names"] == {"label": ["only here"]} and (data.column("label") == -1).all()
    assert any("skipped" in line for line in write.report(manifest, "d"))


def test_more_than_five_percent_is_an_error_that_leaves_nothing(tmp_path):
    bad = [(f"bad{i}.png", b"text", {}) for i in range(6)]
    with pytest.raises(
        ValueError,
        match=r"6 of 100 images \(6.0%\) cannot be used, more than the 5% .*bad0.png: .*"
        r"bad2.png: [^;]*\)",
    ):
        write.write([Source(*many(94), *bad)], tmp_path / "d")
    assert os.listdir(tmp_path) == []
    assert write.write([Source(*many(95), *bad[:5])], tmp_path / "d")["count"] == 95


def test_exif_orientation_is_counted_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(COLOUR, "JPEG", exif=exif)
    manifest = write.write([Source(("a", turned, {}), ("b", JPEG, {}))], tmp_path / "d")
    assert manifest["turned"] == 1 and manifest["sizes"]["maximum"] == [12, 18]
    assert Records(tmp_path / "d").images([0]) == [turned]
    assert any("not rotated" in line for line in write.report(manifest, "d"))


def test_fewer_images_than_shards(tmp_path):
    manifest = write.write([Source(*many(3))], tmp_path / "d", shards=8)
    assert [shard["count"] for shard in manifest["shards"]] == [1, 1, 1]


def test_existing_data_are_replaced_only_on_demand(tmp_path):
    write.write([Source(*many(3))], tmp_path / "d")
    with pytest.raises(FileExistsError, match="give --overwrite"):
        write.write([Source(*many(2))], tmp_path / "d")
    assert Records(tmp_path / "d").count == 3
    write.write([Source(*many(2))], tmp_path / "d", overwrite=True)
    assert Records(tmp_path / "d").count == 2 and os.listdir(tmp_path) == ["d"]


def test_a_kill_between_the_two_renames_loses_no_data(tmp_path):
    write.write([Source(*many(3))], tmp_path / "d")
    (tmp_path / "d").rename(tmp_path / "d.replaced")
    (tmp_path / "d.writing").mkdir()
    with pytest.raises(FileExistsError, match="give --overwrite"):
        write.write([Source(*many(2))], tmp_path / "d")
    assert Records(tmp_path / "d").count == 3 and not (tmp_path / "d.replaced").exists()
    write.write([Source(*many(2))], tmp_path / "d", overwrite=True)
    assert Records(tmp_path / "d").count == 2 and os.listdir(tmp_path) == ["d"]


def test_a_kill_after_the_two_renames_leaves_the_new_data(tmp_path):
    write.write([Source(*many(3))], tmp_path / "d.replaced", name="d")
    write.write([Source(*many(2))], tmp_path / "e")
    (tmp_path / "e").rename(tmp_path / "d")
    with pytest.raises(FileExistsError, match="give --overwrite"):
        write.write([Source(*many(2))], tmp_path / "d")
    assert Records(tmp_path / "d").count == 2 and os.listdir(tmp_path) == ["d"]


def test_old_data_come_back_when_the_new_cannot_take_their_place(tmp_path, monkeypatch):
    write.write([Source(*many(3))], tmp_path / "d")
    rename = os.rename

    def failing(old, new):
        if ".writing" in str(old) and str(new) == str(tmp_path / "d"):
            raise OSError("the disk went away")
        rename(old, new)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="went away"):
        write.write([Source(*many(2))], tmp_path / "d", overwrite=True)
    assert Records(tmp_path / "d").count == 3 and sorted(os.listdir(tmp_path)) == ["d", "d.writing"]
    monkeypatch.undo()
    write.write([Source(*many(2))], tmp_path / "d", overwrite=True)
    assert Records(tmp_path / "d").count == 2 and os.listdir(tmp_path) == ["d"]


def test_a_folder_that_is_no_data_folder_is_never_touched(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="no data folder"):
        write.write([Source(*many(2))], tmp_path / "d", overwrite=True)
    assert (tmp_path / "d" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"shards": -1}, "`shards` is -1"),
        ({"scaling": "percent"}, "`scaling` is 'percent' but must be full, range or quantile"),
        ({"split_shares": {"a": 0.5}}, "the shares of the splits are {'a': 0.5} but must be above 0 and 1 together"),
        ({"split_shares": {"a": 1.0}, "split_by": "name"}, "`split_by` is 'name' but must be one of label"),
        ({"split_shares": {"a": 1.0}, "split_by": "case"}, "`0.png`: it has no `case` to deal the splits by"),
        ({"name": "a/b"}, "`name` is 'a/b'"),
        ({"sources": []}, "nothing to write"),
        ({"sources": [Source()]}, "hold no image"),
        ({"sources": [Source(("a", b"", {}))]}, "none of the 1 images"),
        ({"sources": [Source(("a.png", PNG, {"role": "probe"}))]}, "`a.png`: `role` is 'probe'"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, arguments, text):
    with pytest.raises(ValueError, match=text):
        write.write(**{"sources": [Source(*many(2))], "out": tmp_path / "d", **arguments})
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(self, data):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.io.TFRecordWriter, "write", full)
    with pytest.raises(OSError, match="No space left .* goes on with the shards that are finished"):
        write.write([Source(*many(2))], tmp_path / "d")
    assert os.listdir(tmp_path) == []


def test_the_command_takes_several_sources_at_once(tmp_path):
    for name in ("Greek/character01/1_01.png", "Greek/character02/2_20.png"):
        (tmp_path / "background" / name).parent.mkdir(parents=True)
        (tmp_path / "background" / name).write_bytes(PNG)
    for name in ("test/item01.png", "training/class01.png"):
        (tmp_path / "runs" / "run01" / name).parent.mkdir(parents=True)
        (tmp_path / "runs" / "run01" / name).write_bytes(PNG)
    (tmp_path / "runs" / "run01" / "class_labels.txt").write_text(
        "run01/test/item01.png run01/training/class01.png"
    )
    command = [
        sys.executable,
        "-m",
        "tfrecords.write",
        f"--images={tmp_path}/background",
        "--images_split=train",
        r"--pattern=(?P<identity>[^/]+/character\d+)/\d+_(?P<camera>\d+)\.png",
        f"--source=omniglot_runs:{tmp_path}/runs",
        f"--out={tmp_path}/d",
    ]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "4 grey images in 4 shards" in ended.stdout and "oneshot 2, train 2" in ended.stdout
    assert f"--data={tmp_path}/d" in ended.stdout.splitlines()[-1]
    data = Records(tmp_path / "d")
    assert data.values("identity", range(4)) == [
        "Greek/character01",
        "Greek/character02",
        "run01/class01",
        "run01/class01",
    ]
    assert data.values("camera", range(4)) == ["01", "20", "", ""]


def test_the_command_ends_with_one_sentence(tmp_path):
    (tmp_path / "text.png").write_bytes(b"text")
    ended = subprocess.run(
        [sys.executable, "-m", "tfrecords.write", f"--images={tmp_path}", f"--out={tmp_path}/d"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1 and ended.stdout == "" and "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1] == (
        "error: none of the 1 images can be used (text.png: the file is not an image of a known format); "
        "repair or replace them."
    )


def test_flags_become_sources(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "x").mkdir(parents=True)
        (tmp_path / name / "x" / "1.png").write_bytes(PNG)
    images = [str(tmp_path / "a"), str(tmp_path / "b")]
    found = write.sources_of(images, ["(?P<case>x)/"], ["train", "test"])
    assert [next(iter(source)).columns for source in found] == [
        {"case": "x", "split": "train"},
        {"case": "x", "split": "test"},
    ]
    with pytest.raises(ValueError, match="--pattern is given 3 times for 2 --images"):
        write.sources_of(images, ["x"] * 3)
    with pytest.raises(ValueError, match="belong to --images"):
        write.sources_of(patterns=["x"])
    assert len(write.named_source("digits")) == 1797


@pytest.mark.parametrize(
    "text, message",
    [
        ("omniglot", "`omniglot` is not a source; the sources are csv, .*, omniglot_runs, "),
        ("omniglot_runs", "lacks a location; write --source=omniglot_runs:PATH"),
        ("digits:here", "takes no location; write --source=digits."),
    ],
)
def test_unknown_sources_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        write.named_source(text)


def test_round_trip_of_digits(tmp_path):
    manifest = write.write(write.sources_of(digits=True), tmp_path / "d")
    data = Records(tmp_path / "d")
    assert manifest["count"] == 1797 and len(manifest["shards"]) == 8 and manifest["channels"] == 1
    assert data.names("label") == [str(digit) for digit in range(10)]
    images = tf.function(Decoder(8, 1).images)(tf.constant(data.images(range(0, 1797, 100))))
    from sklearn.datasets import load_digits

    bunch = load_digits()
    np.testing.assert_allclose(images[..., 0] * 16, bunch.images[::100], atol=0.04)
    assert data.column("label")[::100].tolist() == bunch.target[::100].tolist()


@pytest.mark.skipif(not (DATA / "orl_faces").exists(), reason="ORL is not in SUITE_DATA")
def test_orl_identities_sort_as_numbers(tmp_path):
    source = FolderSource(DATA / "orl_faces" / "orl_faces.zip", r"s(?P<identity>\d+)/\d+\.png")
    manifest = write.write([source], tmp_path / "d")
    assert manifest["count"] == 400 and manifest["names"]["identity"] == [str(i) for i in range(1, 41)]
    assert np.bincount(Records(tmp_path / "d").column("identity")).tolist() == [10] * 40


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "omniglot_small1").exists(), reason="Omniglot is not in SUITE_DATA")
def test_omniglot_in_one_folder(tmp_path):
    place = DATA / "omniglot_small1"
    pattern = r"(?P<identity>[^/]+/character\d+)/\d+_(?P<camera>\d+)\.png"
    manifest = write.write(
        [
            FolderSource(place / "images_background_small1.zip", pattern, "train"),
            OmniglotRunsSource(place / "all_runs.zip"),
        ],
        tmp_path / "d",
    )
    assert (
        manifest["splits"] == {"oneshot": 800, "train": 2720}
        and len(manifest["names"]["identity"]) == 136 + 400
    )
    Records(tmp_path / "d").verify()
    assert json.loads((tmp_path / "d" / "manifest.json").read_text()) == manifest


@pytest.mark.parametrize("items, told", [
    ([("a", PNG, {"label": "x"}), ("b", PNG, {"label": "y"})], "--workdir=build/photos"),
    ([("a", PNG, {"identity": "1"}), ("b", PNG, {"identity": "2"})], "--workdir=build/photos"),
    ([("a", PNG, {"identity": "1", "camera": "1"}), ("b", PNG, {"identity": "2", "camera": "2"})],
     "--workdir=build/photos"),
])
def test_training_is_proposed_by_what_is_known_of_the_images(items, told, tmp_path):
    lines = write.report(write.write([Source(*items)], tmp_path / "photos"), str(tmp_path / "photos"))
    assert told in lines[-1] and "--config=" in lines[-1]
    assert ("configs/vehicle_reid/folder.py" in lines[-1]) == ("camera" in items[0][2])


@pytest.mark.parametrize("kinds, each, proposed", [(2, 5, True), (2, 4, False), (21, 5, False)])
def test_few_labels_with_some_images_each_may_be_diagnosed(kinds, each, proposed, tmp_path):
    items = [(f"{label}-{number}", PNG, {"label": f"k{label}"}) for label in range(kinds) for number in range(each)]
    lines = write.report(write.write([Source(*items)], tmp_path / "photos"), str(tmp_path / "photos"))
    assert any("small_sample_diagnosis/folder.py --data=" in line for line in lines) == proposed
    assert "verification/folder.py" in lines[-1]


@pytest.mark.parametrize("sides, told", [
    ([(144, 144)] * 2, "super_resolution/folder.py --data="),
    ([(96, 80)] * 2, "super_resolution/folder.py --config.size='(96, 80)' --data="),
    ([(32, 32)] * 2, "super_resolution/folder.py --config.size=32 --config.patch=0 --data="),
    ([(96, 64), (64, 96)], "next: write them once more with --tile=144"),
    ([(600, 400)] * 2, "next: write them once more with --tile=144"),
    ([(12, 12)] * 2, "note: images below 16 pixels are too small"),
])
def test_images_of_nobody_may_be_made_large(sides, told, tmp_path):
    items = [(f"{place}.png", encoded(np.full(size, place, np.uint8)), {}) for place, size in enumerate(sides)]
    lines = write.report(write.write([Source(*items)], tmp_path / "photos"), str(tmp_path / "photos"))
    assert told in lines[-1] and any(line.startswith("note: the images are not of 2 or more") for line in lines)


def test_tiles_and_an_image_smaller_than_one_are_not_sent_to_be_tiled_again(tmp_path):
    (tmp_path / "in").mkdir()
    for place, size in enumerate([(300, 300), (90, 70)]):
        (tmp_path / "in" / f"{place}.png").write_bytes(encoded(np.full(size, place, np.uint8)))
    manifest = write.write([TileSource(FolderSource(str(tmp_path / "in")), 144)], tmp_path / "photos")
    assert manifest["sizes"]["minimum"] != manifest["sizes"]["maximum"]
    assert "super_resolution/folder.py --data=" in write.report(manifest, str(tmp_path / "photos"))[-1]


def test_who_asks_for_tiles_wants_large_images_whatever_their_folders_are_called(tmp_path):
    for place, name in enumerate(("ann", "bob")):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "1.png").write_bytes(encoded(np.full((112, 92), place, np.uint8)))
    source = FolderSource(str(tmp_path / "in"))
    for made, told in ((TileSource(source, 144), "super_resolution/folder.py --config.size='(112, 92)' --data="),
                       (source, "verification/folder.py --data=")):
        lines = write.report(write.write([made], tmp_path / "photos", overwrite=True), str(tmp_path / "photos"))
        assert told in lines[-1] and not any(line.startswith("note") for line in lines)


def test_a_named_source_takes_options(tmp_path):
    with pytest.raises(ValueError, match="`side` is not a hyper-parameter of tfrecords/sources/veri_wild"):
        write.named_source("veri_wild(location='x', side=5000)")
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 3, 3), np.uint8))
    assert len(write.named_source(f"npz(file='{tmp_path}/a.npz')")) == 2


def test_the_share_that_may_be_unusable_can_be_chosen(tmp_path):
    bad = [(f"bad{i}.png", b"text", {}) for i in range(3)]
    with pytest.raises(ValueError, match="3 of 10 images .* more than the 20%"):
        write.write([Source(*many(7), *bad)], tmp_path / "d", most_skipped=0.2)
    assert write.write([Source(*many(7), *bad)], tmp_path / "d", most_skipped=0.3)["count"] == 7


def test_of_pairs_alone_no_training_is_proposed(tmp_path):
    source = Source(("a", PNG, {}), ("b", PNG, {}))
    source.pairs = [("a", "b", 1, -1)]
    lines = write.report(write.write([source], tmp_path / "d"), "d")
    assert lines[-1].startswith("note: same and different are all") and not any("keras_apps" in line for line in lines)


def test_images_become_a_data_folder_where_they_are_none_yet(tmp_path):
    for label in ("a", "b"):
        for number in range(2):
            path = tmp_path / "my photos" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(GREY + number))
    out = tmp_path / "run" / "data"
    folder, said = write.written(tmp_path / "my photos", out)
    records = Records(folder)
    assert folder == str(out) and records.name == "my_photos" and records.names("label") == ["a", "b"]
    assert said[0].startswith("4 grey images in ") and not any("python -m" in line for line in said)
    again, said = write.written(tmp_path / "my photos", out)
    assert again == folder and "are those written to" in said[0]
    shutil.copytree(tmp_path / "my photos", tmp_path / "other photos")
    with pytest.raises(ValueError, match="holds the records of .*my photos as it was but .*other photos is given"):
        write.written(tmp_path / "other photos", out)
    (tmp_path / "my photos" / "a" / "0.png").write_bytes(encoded(GREY + 9))
    with pytest.raises(ValueError, match="its images or labels have changed"):
        write.written(tmp_path / "my photos", out)
    write.written(tmp_path / "my photos", out, renew=True)
    assert Records(out).images([0]) == [encoded(GREY + 9)]
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match="notes.txt` is a file but must be a folder"):
        write.written(tmp_path / "notes.txt", out)
    assert write.written(out, tmp_path / "other") == (str(out), []) and not (tmp_path / "other").exists()
    assert write.written(tmp_path / "nothing", tmp_path / "other") == (str(tmp_path / "nothing"), [])
    table = tmp_path / "cases.csv"
    table.write_text("path,label,case\n" + "".join(f"my photos/{label}/{number}.png,{label},p{number}\n"
                                                  for label in "ab" for number in range(2)))
    folder, _ = write.written(table, tmp_path / "of table")
    assert Records(folder).names("case") == ["p0", "p1"]
