"""The gallery command on a toy encoder, and its versions asked over gRPC."""

import functools
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from saved_models import changes
from serving import client, gallery, sheet
from serving.config import ModelConfig
from serving.server import Server
from tests.serving.toys import Encoder, png, run_process, until
from tests.tfrecords.here import run_here

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """models/toy/1 and images/<colour>/<n>.png."""
    folder = tmp_path_factory.mktemp("gallery")
    Encoder().save(folder / "models" / "toy" / "1", "embed")
    for name, colour in COLOURS.items():
        (folder / "images" / name).mkdir(parents=True)
        for i in range(2):
            darker = [max(0, value - 20 * i) for value in colour]
            (folder / "images" / name / f"{i}.png").write_bytes(png(*darker))
    for name, colour in (("yellow", (255, 255, 0)), ("reddish", (250, 9, 9))):
        (folder / f"{name}.png").write_bytes(png(*colour))
    return folder


def build_arguments(folder, task):
    return (
        "build",
        f"--model={folder}/models/toy",
        f"--images={folder}/images",
        f"--models={folder}/models",
        f"--task={task}",
        "--k=4",
        "--threshold=0.9",
    )


@pytest.mark.slow
def test_build_as_a_process(folder):
    code, out, error = run_process("serving.gallery", *build_arguments(folder, "other"))
    written = f"{folder}/models/other/1: 6 entries of 3 identities, no image skipped\n"
    assert (code, out) == (0, written), error


def test_the_threshold_of_pairs_is_told_with_how_many_strangers_pass_it(folder, tmp_path, capsys, monkeypatch):
    for name in ("build", "enrol"):
        monkeypatch.setattr(gallery.gallery, name, functools.partial(getattr(gallery.gallery, name), check=False))
    assets = tmp_path / "models" / "toy" / "1" / "assets"
    shutil.copytree(folder / "models" / "toy" / "1", assets.parent)
    assets.mkdir(exist_ok=True)
    (assets / "calibration.json").write_text(json.dumps({"threshold": 0.5, "far": 0.05}))
    words = ("build", f"--model={tmp_path}/models/toy", f"--images={folder}/images", f"--models={tmp_path}/models")
    code, _, error = run_here(gallery, capsys, *words, "--task=one")
    told = "threshold 0.500 is one of pairs, of which about 0.05 pass though they differ; among 6 entries some 26% of"
    assert code == 0 and told in error
    code, _, error = run_here(gallery, capsys, "enrol", f"--gallery={tmp_path}/models/one", "--identity=new",
                              folder / "yellow.png")
    assert code == 0 and "among 7 entries some 30% of strangers" in error
    code, _, error = run_here(gallery, capsys, *words, "--task=two", "--threshold=0.9")
    assert code == 0 and "strangers" not in error


def test_build_search_enrol_remove_while_a_server_runs(folder, capsys, monkeypatch):
    for name in ("build", "enrol", "remove"):  # the check starts a process each time; saved_models tests it
        function = functools.partial(getattr(gallery.gallery, name), check=False)
        monkeypatch.setattr(gallery.gallery, name, function)
    code, out, error = run_here(gallery, capsys, *build_arguments(folder, "gallery"))
    written = f"{folder}/models/gallery/1: 6 entries of 3 identities, no image skipped\n"
    assert (code, out) == (0, written), error
    with (
        Server(
            [ModelConfig("gallery", str(folder / "models" / "gallery"))], port=0, poll_seconds=0.1
        ) as running,
        client.Client(running.address, "gallery") as asked,
    ):
        answer = asked.search([folder / "reddish.png", folder / "yellow.png"])
        assert answer["identities"].shape == (2, 4) and answer["identities"][0, 0] == "red"
        assert answer["entries"][0, 0].startswith("red/") and answer["unknown"].tolist() == [False, True]
        assert np.all(np.diff(answer["scores"], axis=1) <= 0)

        code, out, _ = run_here(
            client,
            capsys,
            "search",
            folder / "reddish.png",
            "--k=2",
            "--model=gallery",
            f"--server={running.address}",
            "--json",
        )
        row = json.loads(out)
        assert code == 0 and [match["identity"] for match in row["matches"]] == ["red", "red"]
        assert row["vote"] == {"red": 2} and row["voted"] == "red"
        words = ("search", folder / "reddish.png", folder / "yellow.png", f"--server={running.address}")
        code, out, _ = run_here(client, capsys, *words)
        assert code == 0 and "│ vote │ red " in out and "│ 2 of 4 │" in out and out.count("vote") == 1
        known, unknown = map(json.loads, run_here(client, capsys, *words, "--json")[1].splitlines())
        assert known["vote"]["red"] == 2 and sum(known["vote"].values()) == 4 and known["voted"] == "red"
        assert unknown["unknown"] and unknown["vote"] == {} and unknown["voted"] is None
        code, out, _ = run_here(
            client, capsys, "search", folder / "yellow.png", "--model=gallery", f"--server={running.address}"
        )
        assert code == 0 and "unknown" in out
        for flags, seen in (([f"--images={folder}/images"], ["red", "red"]), ([], [None, None])):
            code, out, error = run_here(
                client,
                capsys,
                "search",
                folder / "reddish.png",
                "--k=2",
                f"--out={folder}/sheet.png",
                f"--server={running.address}",
                *flags,
            )
            assert (code, out, error.count("\n")) == (0, "", 1), error
            assert error.startswith(f"sheet written to {folder}/sheet.png: 1 query, 2 answers each; ")
            assert ("2 of 2 answers with their image" if flags else "--images=DIR, what the gallery was") in error
            assert colours_of(folder / "sheet.png") == ["red", *seen]

        code, out, error = run_here(
            gallery,
            capsys,
            "enrol",
            f"--gallery={folder}/models/gallery",
            "--identity=yellow",
            folder / "yellow.png",
        )
        written = f"{folder}/models/gallery/2: 7 entries of 4 identities, no image skipped\n"
        assert (code, out) == (0, written), error
        assert until(lambda: asked.search(folder / "yellow.png")["identities"][0, 0] == "yellow")
        assert asked.search(folder / "yellow.png")["entries"][0, 0] == "yellow/yellow.png"

        code, out, error = run_here(
            gallery,
            capsys,
            "remove",
            f"--gallery={folder}/models/gallery",
            "--identity=yellow",
            "blue",
            "--keep=1",
        )
        assert (code, out) == (0, f"{folder}/models/gallery/3: 4 entries of 2 identities\n"), error
        assert until(lambda: asked.status()[0]["version"] == 3 and asked.status()[0]["state"] == "AVAILABLE")
        assert not {"yellow", "blue"} & set(asked.search(folder / "yellow.png")["identities"].ravel())
        assert sorted(path.name for path in (folder / "models" / "gallery").iterdir()) == ["3"]


def test_commands_wait_for_each_other_and_warn_of_an_older_beginning(folder, tmp_path, capsys, monkeypatch):
    for name in ("build", "enrol"):
        monkeypatch.setattr(gallery.gallery, name, functools.partial(getattr(gallery.gallery, name), check=False))
    monkeypatch.setattr(changes, "SECONDS", 0.05)
    build = ("build", f"--model={folder}/models/toy", f"--images={folder}/images", f"--models={tmp_path}")
    enrol = ("enrol", f"--gallery={tmp_path}/gallery", "--identity=yellow", folder / "yellow.png")
    assert run_here(gallery, capsys, *build)[0] == 0
    with changes.exclusive(str(tmp_path / "gallery")):
        for words in (build, enrol, ("remove", enrol[1], "red"), ("erase", enrol[1], "red")):
            code, _, error = run_here(gallery, capsys, *words)
            assert code == 1 and "is still being changed by another command or server after 0.1 s; try" in error
    assert run_here(gallery, capsys, *enrol)[::2] == (0, "")
    code, out, error = run_here(gallery, capsys, enrol[0], f"{enrol[1]}/1", *enrol[2:])
    assert code == 0 and "gallery/3: 7 entries" in out, error
    assert f"gallery/1 is not the newest version; what {tmp_path}/gallery/2 holds beside it will not be in" in error


def colours_of(file):
    """Which colour is in the middle of each tile of the first row."""
    picture = Image.open(file)
    lefts = [sheet.MARGIN + i * (sheet.TILE + sheet.GAP) + (sheet.GAP if i else 0) for i in range(3)]
    middle = sheet.MARGIN + sheet.HEAD + sheet.TILE // 2
    pixels = np.array([picture.getpixel((left + sheet.TILE // 2, middle)) for left in lefts], int)
    near = [[name for name, colour in COLOURS.items() if np.abs(pixel - colour).max() < 30] for pixel in pixels]
    return [names[0] if names else None for names in near]


def test_a_pattern_names_the_identities(folder, tmp_path, capsys, monkeypatch):
    for name in ("build", "enrol"):
        monkeypatch.setattr(gallery.gallery, name, functools.partial(getattr(gallery.gallery, name), check=False))
    names = ["day 1/car_012_cam1.jpg", "day 2/car_012_cam2.jpg", "day 2/deep/bus_7_cam1.jpg", "day 2/plan.png"]
    for i, name in enumerate(names):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(png(60 * i, 9, 200))
    pattern = r"--pattern=(?P<identity>[a-z]+_\d+)_(?P<camera>cam\d)\.jpg"
    arguments = (f"--images={tmp_path}/photos", pattern)
    code, out, error = run_here(
        gallery, capsys, "build", f"--model={folder}/models/toy", f"--models={tmp_path}", *arguments
    )
    left_out = "  1 image left out whose path does not match the pattern\n"
    assert (code, out) == (0, f"{tmp_path}/gallery/1: 3 entries of 2 identities, no image skipped\n{left_out}"), error
    _, identities, entries = gallery.gallery.load_entries(f"{tmp_path}/gallery/1")
    assert dict(zip(entries, identities)) == {names[0]: "car_012", names[1]: "car_012", names[2]: "bus_7"}

    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "car_013_cam1.jpg").write_bytes(png(1, 2, 3))
    arguments = (f"--gallery={tmp_path}/gallery", f"--images={tmp_path}/more", pattern)
    code, out, error = run_here(gallery, capsys, "enrol", *arguments)
    assert (code, out) == (0, f"{tmp_path}/gallery/2: 4 entries of 3 identities, no image skipped\n"), error


def test_the_report_counts_and_names_what_was_skipped():
    unreadable = [{"path": f"a/{i}.png", "reason": "the file is empty"} for i in range(7)]
    facts = {"count": 1200, "identities": 3, "skipped": {"count": 7, "unreadable": unreadable}}
    lines = gallery._report("models/gallery/1", facts)
    assert lines[0] == (
        "models/gallery/1: 1,200 entries of 3 identities, 7 images skipped that cannot be used:"
    )
    assert lines[1:6] == [f"  a/{i}.png: the file is empty" for i in range(5)]
    assert lines[6:] == ["  and 2 more; see models/gallery/1/assets/gallery.json"]
    facts["skipped"] = {"count": 1, "unreadable": unreadable[:1]}
    assert gallery._report("x", facts)[0].endswith("1 image skipped that cannot be used:")


@pytest.mark.parametrize(
    "arguments, text",
    [
        ([], "`` is not a command; use one of build, enrol, remove, erase."),
        (["build", "--images=x", "--models=y"], "`--model` is missing"),
        (
            ["build", "--model={toy}", "--images=/nowhere", "--models=y"],
            "`/nowhere` does not exist; give a directory or a zip file.",
        ),
        (["build", "--model=/nowhere/toy", "--images={images}", "--models=y"], "holds no version of `toy`"),
        (["build", "a.png"], "is one file but build takes a folder or zip; use --images=PHOTOS."),
        (["build", "--gallery=x"], "`--gallery` does not belong to build"),
        (["enrol", "--gallery=x"], "either --images=PHOTOS or --identity=NAME"),
        (["enrol", "--gallery={toy}", "--identity=a"], "No image to enrol for `a`"),
        (
            ["enrol", "--gallery={toy}", "--identity=a", "--identity=b", "c.png"],
            "one enrolment is of one identity",
        ),
        (["enrol", "--gallery={toy}", "--identity=a", "--pattern=b", "c.png"], "`--pattern` is 'b' but --identity"),
        (["remove", "--gallery=x", "--pattern=b"], "`--pattern` does not belong to remove"),
        (
            ["build", "--model={toy}", "--images={images}", "--models=y", "--pattern=(?P<camera>.)"],
            "has neither a group `identity` nor a group `label`",
        ),
        (["enrol", "--gallery={toy}", "--images=x", "c.png"], "`c.png` follows --images=PHOTOS"),
        (["enrol", "--gallery={toy}", "--identity=a", "gone.png"], "`gone.png` is not a file; check"),
        (["remove", "--gallery=x"], "Nothing to remove"),
    ],
)
def test_errors_are_one_sentence(folder, capsys, arguments, text):
    names = {"toy": folder / "models" / "toy", "images": folder / "images"}
    code, out, error = run_here(gallery, capsys, *[argument.format(**names) for argument in arguments])
    assert (code, out, error.count("\n")) == (1, "", 1) and error.startswith("error: ") and text in error
