"""The commands detect, generate and restore against a server process; the others are in test_client.py."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from serving import client, client_command, overlay, samples
from serving.answers import png_size
from serving.client import Client
from tests.serving.toys import png, run_process
from tests.tfrecords.here import run_here


@pytest.fixture()
def files(tmp_path):
    """half.png: 28 x 28, its left half red on blue."""
    half = np.zeros((28, 28, 3), np.uint8)
    half[:, :14, 0], half[:, 14:, 2] = 255, 255
    for name, data in (("half", tf.io.encode_png(half).numpy()), ("blue", png(0, 0, 255)), ("bad", b"no image")):
        (tmp_path / f"{name}.png").write_bytes(data)
    return tmp_path


@pytest.fixture()
def run(served, capsys):
    return lambda *words: run_here(client, capsys, *words, f"--server={served.address}")


def test_detect_prints_a_table_or_json(run, files):
    images = files / "half.png", files / "blue.png"
    code, out, error = run("detect", *images)
    assert code == 0, error
    rows = [[cell.strip() for cell in line[1:-1].replace("┃", "│").split("│")] for line in out.splitlines()
            if line[0] in "│┃"]  # fmt: skip
    assert rows == [["image", "score", "threshold", "decision", "probability"],
                    [str(images[0]), "0.5000", "0.2500", "fake", "0.6225"],
                    [str(images[1]), "0.0000", "0.2500", "real", "0.5000"]]  # fmt: skip
    assert "`decision` decides: fake where score >= threshold." in out
    code, out, error = run("detect", *images, "--json")
    first, second = map(json.loads, out.splitlines())
    assert first == {"image": str(images[0]), "score": 0.5, "probability": pytest.approx(0.6225, abs=1e-4),
                     "decision": True, "threshold": 0.25}  # fmt: skip
    assert second["decision"] is False and error == ""


def test_the_picture_is_red_where_the_map_is_high(run, files):
    code, out, error = run("detect", files / "half.png", files / "blue.png", f"--out={files / 'overlay.png'}")
    said = f"picture written to {files / 'overlay.png'}: 2 images with what speaks for a fake in red\n"
    assert (code, error) == (0, said) and "half.png" in out and "decision" in out, "the answers stand beside it"
    with Image.open(files / "overlay.png") as opened:
        picture = opened.convert("RGB")
    top, right = overlay.MARGIN + overlay.HEAD, overlay.MARGIN + overlay.SIDE + overlay.BETWEEN
    middle = top + overlay.SIDE // 2
    assert picture.getpixel((overlay.MARGIN + 20, middle)) == (255, 0, 0), "the image as it is"
    assert picture.getpixel((overlay.MARGIN + 200, middle)) == (0, 0, 255)
    assert picture.getpixel((right + 20, middle)) == tuple(bytes.fromhex(overlay.RED[1:]))
    grey = picture.getpixel((right + 200, middle))
    assert len(set(grey)) == 1 and grey[0] < 60
    assert len(set(picture.getpixel((right + 20, middle + overlay.SIDE + overlay.CAPTION)))) == 1, "blue.png"


def test_only_the_maps_that_are_drawn_are_asked_for(run, files, monkeypatch):
    asked, fake_map = [], Client.fake_map
    monkeypatch.setattr(Client, "fake_map", lambda self, images: asked.append(len(images)) or fake_map(self, images))
    code, out, error = run("detect", *[files / "blue.png"] * 52, f"--out={files / 'o.png'}", "--json")
    assert code == 0 and asked == [50] and len(out.splitlines()) == 52
    assert error.endswith(": the first 50 of 52 images with what speaks for a fake in red\n")


def test_a_map_of_the_server_that_is_none_is_one_sentence(run, files, monkeypatch):
    monkeypatch.setattr(Client, "_ask_images", lambda *_, **__: {"map": np.full((1, 2, 2), np.nan, np.float32)})
    code, out, error = run("detect", files / "blue.png", f"--out={files / 'o.png'}")
    assert (code, out, error.count("\n")) == (1, "", 1) and not (files / "o.png").exists()
    assert error.startswith(f"error: {files / 'blue.png'}: Server ") and "from nan to nan but must lie in" in error


def test_generate_prints_a_table_or_json(run):
    code, out, error = run("generate")
    assert code == 0 and out.count("28 x 20") == 16 and "height x width" in out, error
    code, out, error = run("generate", "--count=40", "--seed=7", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [row["seed"] for row in rows] == [*range(7, 47)]
    assert {(row["height"], row["width"]) for row in rows} == {(28, 20)} and all(row["bytes"] > 100 for row in rows)


def test_generate_writes_a_folder_as_a_process(served, tmp_path):
    words = ("--count=34", "--seed=3", "--class_index=1", "--model=classes", f"--out={tmp_path / 'made'}/")
    code, out, error = run_process("serving.client", "generate", *words, f"--server={served.address}")
    assert (code, out, error) == (0, "", f"34 images written to {tmp_path / 'made'}/: 3.png to 36.png\n")
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == sorted(f"{i}.png" for i in range(3, 37))
    with Client(served.address, "classes") as asked:
        assert (tmp_path / "made" / "36.png").read_bytes() == asked.generate(1, 36, 1)[0]


def test_generate_writes_into_a_folder_that_is_there_and_draws_a_sheet(run, tmp_path):
    (tmp_path / "v1.2").mkdir()
    code, out, error = run("generate", "--count=1", f"--out={tmp_path / 'v1.2'}")
    assert (code, out, error) == (0, "", f"1 image written to {tmp_path / 'v1.2'}: 0.png\n")
    code, out, error = run("generate", "--count=450", f"--out={tmp_path / 'sheet.png'}")
    assert (code, out) == (0, "") and error.endswith("sheet.png: the first 400 of 450 images\n")
    with Image.open(tmp_path / "sheet.png") as sheet, Image.open(tmp_path / "v1.2" / "0.png") as first:
        left = samples.MARGIN + (samples.SMALL - 4 * 20) // 2
        corner = left, samples.MARGIN + samples.HEAD + (samples.SMALL - 4 * 28) // 2
        assert sheet.getpixel(corner) == first.getpixel((0, 0)) == sheet.getpixel((corner[0] + 3, corner[1] + 3))


@pytest.fixture()
def photos(tmp_path):
    """A folder of images in two levels, and what lies between them."""
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    (folder / "a.png").write_bytes(png(255, 0, 0))
    (folder / "trip" / "b.JPG").write_bytes(tf.io.encode_jpeg(np.zeros((5, 7, 3), np.uint8)).numpy())
    (folder / "notes.txt").write_bytes(b"x")
    return folder


def sizes(folder):
    return {str(path.relative_to(folder)): png_size(path.read_bytes()) for path in sorted(folder.rglob("*.*"))}


def test_restore_writes_one_image(run, files):
    for words, size in (((), "112 x 112"), (("--scale=2",), "56 x 56"), (("--scale=1", "--timeout=20"), "28 x 28")):
        code, out, error = run("restore", files / "half.png", f"--out={files / 'large.png'}", *words)
        assert (code, out, error) == (0, "", f"1 image written to {files / 'large.png'}: {size} (height x width)\n")
    code, out, error = run("restore", files / "blue.png", f"--out={files / 'large.png'}", "--json")
    assert json.loads(out) == {"image": str(files / "blue.png"), "out": str(files / "large.png"), "height": 16,
                               "width": 16, "bytes": (files / "large.png").stat().st_size}  # fmt: skip
    assert png_size((files / "large.png").read_bytes()) == (16, 16), "made again"


def test_restore_keeps_the_paths_of_a_folder(run, photos, tmp_path):
    made = tmp_path / "made"
    code, out, error = run("restore", photos, f"--out={made}", "--json")
    assert (code, error) == (0, f"2 images written to {made}; 1 file with another ending skipped\n")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["image"], row["out"], row["height"], row["width"]) for row in rows] == [
        (f"{photos}/a.png", f"{made}/a.png", 16, 16), (f"{photos}/trip/b.JPG", f"{made}/trip/b.png", 20, 28)
    ]  # fmt: skip
    assert sizes(made) == {"a.png": (16, 16), "trip/b.png": (20, 28)}


def test_a_bad_file_among_good_ones_is_told_at_the_end(run, photos, files, tmp_path):
    (photos / "bad.gif").write_bytes(b"no image")
    (photos / "empty.bmp").write_bytes(b"")
    (photos / "trip" / "link.png").symlink_to(files / "blue.png")
    for words in ([photos], [photos / "a.png", photos / "bad.gif", photos / "empty.bmp", photos / "trip"]):
        made = tmp_path / f"made{len(words)}"
        code, out, error = run("restore", *words, f"--out={made}", "--scale=2")
        refused, empty, said = error.splitlines()
        assert (code, out) == (1, "") and refused.startswith(f"error: {photos / 'bad.gif'}: Server ")
        assert "Unknown image file format" in refused and empty.startswith(f"error: `{photos / 'empty.bmp'}` is empty;")
        others = "1 file with another ending skipped; " if len(words) == 1 else ""
        assert said == f"2 images written to {made}; 2 refused; {others}1 link not followed"
        where = "trip/b.png" if len(words) == 1 else "b.png"
        assert sizes(made) == {"a.png": (8, 8), where: (10, 14)}
    code, out, error = run("restore", photos / "bad.gif", photos / "empty.bmp", f"--out={tmp_path / 'none'}", "--json")
    assert (code, out) == (1, "") and error.endswith(f"\n0 images written to {tmp_path / 'none'}; 2 refused\n")
    assert not (tmp_path / "none").exists()


def test_what_was_restored_is_told_when_the_server_goes_away(run, photos, tmp_path, monkeypatch):
    def restore_each(self, images, scale):
        yield images[0], png(0, 0, 0)
        raise client_command.ServingError("UNAVAILABLE", "gone")

    monkeypatch.setattr(Client, "restore_each", restore_each)
    code, out, error = run("restore", photos, f"--out={tmp_path / 'made'}", "--json")
    assert (code, out) == (1, "") and sizes(tmp_path / "made") == {"a.png": (4, 4)}
    assert error.splitlines() == [
        f"1 image written to {tmp_path / 'made'}; 1 file with another ending skipped", "error: UNAVAILABLE: gone."
    ]


def test_restoring_that_took_long_has_a_closing_line(run, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(client_command, "QUIET_SECONDS", 0.0)
    code, out, error = run("restore", photos, f"--out={tmp_path / 'made'}", "--wait=0")
    progress, said = error.splitlines()
    assert code == 0 and progress.startswith("restoring: 2 images in ") and progress.endswith(" s")
    assert said.startswith("2 images written to ")


@pytest.mark.parametrize("words, told", [
    (["detect"], "No image to detect; give at least one path."),
    (["detect", "{gone}"], "Image `{gone}` is not a file; check the path."),
    (["detect", "{blue}", "--out=o.jpg"], "`--out` is o.jpg but must end in .png."),
    (["detect", "{blue}", "--out=folder"], "`--out` is folder but must end in .png."),
    (["detect", "{blue}", "--out=/nonexist/o.png"], "`--out` is /nonexist/o.png but there is no folder `/nonexist`"),
    (["detect", "{blue}", "--pattern=(?P<identity>r)"], "`--pattern` belongs to embed and ask and search; leave it"),
    (["detect", "{blue}", "--count=2"], "`--count` belongs to generate; leave it away for detect."),
    (["detect", "{blue}", "{bad}"], "{bad}: Server "),
    (["detect", "{blue}", "--model=toy", "--version=1"], 'Serving signature key "detect" not found.'),
    (["detect", "{blue}", "--model=toy", "--version=1", "--out={made}.png"], 'signature key "fake_map" not found.'),
    (["detect", "{blue}", "--model=nobody"], "NOT_FOUND: Servable not found for request: Latest(nobody)"),
    (["generate", "{blue}"], "`{blue}` follows generate, which takes no images but only flags; leave it away."),
    (["generate", "--count=0"], "`--count` is `0` but must be an integer in the range [1, 10000]."),
    (["generate", "--count=10001"], "`--count` is `10001` but must be an integer in the range [1, 10000]."),
    (["generate", "--seed=-1"], "`--seed` is `-1` but must be an integer in the range [0, "),
    (["generate", "--class_index=-1"], "`--class_index` is `-1` but must be a non-negative integer."),
    (["generate", "--class_index=1"], "`label` is 1 but model image_generation knows no classes; leave it away, --cl"),
    (["generate", "--model=classes"], "`label` is missing but model classes makes images of a class; give the index"),
    (["generate", "--model=classes", "--class_index=3"], "`label` is not below 3 classes."),
    (["generate", "--model=toy", "--version=1"], 'Serving signature key "generate" not found.'),
    (["generate", "--out=x.jpg"], "`--out` is x.jpg but must end in .png or, for a folder, have no ending."),
    (["generate", "--out={plain}"], "`--out` is {plain} but that is a file; give a folder or FILE.png."),
    (["generate", "--out=/nonexist/made"], "`--out` is /nonexist/made but there is no folder `/nonexist`; make it"),
    (["generate", "--k=2"], "`--k` belongs to search; leave it away for generate."),
    (["restore"], "No image to restore; give at least one path."),
    (["restore", "{blue}"], "`--out` is missing but restore writes images; give --out=FOLDER, or --out=FILE.png for a"),
    (["restore", "{gone}", "--out={made}"], "Image `{gone}` is not a file; check the path."),
    (["restore", "{blue}", "--out={made}", "--scale=0"], "`--scale` is `0` but must be a positive integer."),
    (["restore", "{blue}", "{half}", "--out={made}", "--scale=3"], "`scale` is 3 but must be 1, 2 or 4."),
    (["restore", "{bad}", "--out={made}.png"], "error: {bad}: Server "),
    (["restore", "{blue}", "--out=x.jpg"], "`--out` is x.jpg but must end in .png or, for a folder, have no ending."),
    (["restore", "{blue}", "{half}", "--out={made}.png"], "a file for one image, but 2 images or folders are to be"),
    (["restore", "{blue}", "--out={blue}"], "`--out` is {blue} but {blue} is an image to restore, which would be"),
    (["restore", "{blue}", "--out={made}", "--model=toy", "--version=1"], 'signature key "restore" not found.'),
    (["detect", "{blue}", "--scale=2"], "`--scale` belongs to restore; leave it away for detect."),
])  # fmt: skip
def test_command_errors_are_one_sentence(run, files, words, told):
    (files / "plain").write_bytes(b"x")
    names = {"made": files / "made", "plain": files / "plain"}
    names |= {name: files / f"{name}.png" for name in ("blue", "half", "bad", "gone")}
    code, out, error = run(*(word.format(**names) for word in words), "--wait=0")
    assert (code, out, error.count("\n")) == (1, "", 1) and error.startswith("error: "), error
    assert told.format(**names) in error
    assert sorted(path.name for path in files.iterdir()) == ["bad.png", "blue.png", "half.png", "plain"]


@pytest.mark.slow
def test_a_bad_file_among_good_ones_as_a_process(served, photos, tmp_path):
    (photos / "bad.png").write_bytes(b"no image")
    words = ("restore", photos, f"--out={tmp_path / 'made'}", f"--server={served.address}")
    code, out, error = run_process("serving.client", *words)
    assert (code, out, error.count("\n")) == (1, "", 2) and error.startswith(f"error: {photos / 'bad.png'}: Server ")
    assert error.endswith(f"2 images written to {tmp_path / 'made'}; 1 refused; 1 file with another ending skipped\n")
    assert sizes(tmp_path / "made") == {"a.png": (16, 16), "trip/b.png": (20, 28)}


@pytest.mark.slow
def test_an_error_of_the_server_as_a_process(served):
    code, out, error = run_process("serving.client", "generate", f"--server={served.address}", "--model=fakes")
    assert (code, out, error.count("\n")) == (1, "", 1)
    assert error.startswith(f"error: Server {served.address}, model fakes: NOT_FOUND: ")
