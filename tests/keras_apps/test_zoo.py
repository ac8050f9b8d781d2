"""A zoo of generators: the plan, what is made anew and what is not, the table, the sheet; once end to end."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest
from PIL import Image

from keras_apps import cells, zoo
from tests.keras_apps.fakes import reals, write_digits
from tests.keras_apps.runs import contents
from tests.tfrecords.drawn import Drawn
from tfrecords.read import Records
from tfrecords.write import named_source, write

ROOT = pathlib.Path(__file__).parents[2]
FAMILIES = ("dcgan", "wgan")
RESULT = {"frechet": 12.345, "floor_frechet": 40.0, "precision": 0.8, "floor_precision": 0.5, "recall": 0.25,
          "floor_recall": 0.1, "classes_covered": 9.0, "floor_classes_covered": 4.0, "least_class_share": 0.02,
          "floor_least_class_share": 0.0, "frechet_real": 1.5, "encoder_accuracy": 0.91, "images": 5000, "seed": 0,
          "minutes": 3.25, "data_sha256": "0f"}


def plan(families=FAMILIES, extra=(), out="/tmp/zoo"):
    return zoo.plan(families, "/data", str(out), extra)


# ---- the plan

def test_each_family_is_a_cell_of_its_own():
    found = plan(extra=("--config.steps=7", "--strategy=one"), out="/tmp/zoo")
    assert list(found) == ["dcgan", "wgan"]
    cell = found["wgan"]
    assert cell.config == str(zoo.CONFIGS / "wgan.py") and cell.data == "/data" and cell.workdir == "/tmp/zoo/wgan"
    assert cell.words == ("--config.steps=7", "--strategy=one")
    assert list(plan(("dcgan_64", "lsgan_64"))) == ["dcgan", "lsgan"], "named by what their images are called"
    assert all(name in plan(zoo.FAMILIES) for name in zoo.FAMILIES)


@pytest.mark.parametrize("families, extra, told", [
    (("dcgan", "stylegan"), (), "`--families` names 'stylegan' but must name configs of image_generation, of dcgan, "),
    (("dcgan", "dcgan_64"), (), "`--families` names two configs of the family 'dcgan' but each pool needs its own; le"),
    (("dcgan", "dcgan"), (), "two configs of the family 'dcgan'"),
    (("dcgan", "ring"), (), "`--families` names 'ring' but must name configs of image_generation"),
    (("dcgan", "lsgan_64"), (), r"`--families` are of the sizes 28 \(dcgan\) and 64 \(lsgan_64\) but pools must have "),
    ((), (), "`--families` is empty but must name configs of image_generation, of dcgan"),
    (FAMILIES, ("--config.stepz=3",), "`stepz` is not a key of this config; did you mean steps"),
    (FAMILIES, ("--config.steps=many",), "steps"),
])
def test_what_cannot_be_trained_is_refused_before(families, extra, told):
    with pytest.raises(ValueError, match=told) as raised:
        plan(families, extra)
    assert "\n" not in str(raised.value)


# ---- what is made anew

@pytest.fixture
def place(tmp_path, monkeypatch):
    """Real images, trainings and pools that are there at once; what was called is noted."""
    write([Drawn(reals(40))], tmp_path / "data", shards=2)
    sha = Records(tmp_path / "data").manifest["data_sha256"]
    called = []

    def train(cell, show):
        called.append(cell.name)
        checkpoints = pathlib.Path(cell.workdir) / "checkpoints"
        checkpoints.mkdir(parents=True)
        for name in ("index", "data-00000-of-00001"):
            (checkpoints / f"ckpt-5.{name}").write_text(f"{cell.name} {cell.words}")
        found = {**RESULT, "data_sha256": sha}
        for name, content in (("config", cells.config_of(cell.config, cell.words)), ("evaluation", found)):
            (pathlib.Path(cell.workdir) / f"{name}.json").write_text(json.dumps(content))
        return found

    def call(module, *words):
        given = dict(word.lstrip("-").partition("=")[::2] for word in words)
        called.append(module)
        if module == "keras_apps.sample":
            workdir = pathlib.Path(given["workdir"])
            weights = zoo.file_sha256(workdir / "checkpoints" / "ckpt-5.data-00000-of-00001")
            facts = {"source": "generator", "weights_sha256": weights, "size": [16, 16], "fit": "stretch",
                     "trained_on": "data", "trained_on_sha256": sha}
            count, name = int(given["count"]), workdir.name
            source = Drawn(reals(count, seed=int(weights[:8], 16)), [{"source": name}] * count, **facts)
            write([source], given["out"], shards=1, overwrite="overwrite" in given)
        else:
            assert given["source"].startswith("fakes(reals=") and "overwrite" in given
            shutil.rmtree(given["out"], ignore_errors=True)
            write([named_source(given["source"])], given["out"], shards=1)
    monkeypatch.setattr(zoo.cells, "train", train)
    monkeypatch.setattr(zoo.cells, "call", call)
    return tmp_path, called


def run(place, families=FAMILIES, count=20, extra=(), data="data", fakes=""):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo, "FLAGS", types.SimpleNamespace(
            families=list(families), data=str(place / data), out=str(place / "zoo"), count=count, fakes=fakes))
        zoo.main(["zoo", *extra])


@pytest.fixture
def quick(place, monkeypatch):
    """As `place`, without a picture, and the real and fake images are no more than said to be written."""
    monkeypatch.setattr(zoo, "sheet", lambda pools, real: np.zeros([2, 2, 3], np.uint8))
    call = zoo.cells.call

    def here(module, *words):
        if module != WRITE:
            return call(module, *words)
        place[1].append(module)
        out = pathlib.Path(words[1].removeprefix("--out="))
        out.mkdir(exist_ok=True)
        families = sorted(path.name for path in (place[0] / "zoo" / "pools").iterdir() if path.name in words[0])
        sha = Records(place[0] / "data").manifest["data_sha256"]
        return (out / "manifest.json").write_text(json.dumps({
            "created_from": [{"source": "fakes", "reals_sha256": sha, "families": families}]}))
    monkeypatch.setattr(zoo.cells, "call", here)
    return place


SAMPLE, WRITE = "keras_apps.sample", "tfrecords.write"


def test_a_second_call_makes_nothing_anew(place, capsys):
    folder, called = place
    run(folder)
    assert called == ["dcgan", "wgan", SAMPLE, SAMPLE, WRITE]
    said = capsys.readouterr().out
    assert "| dcgan " in said and "--config.held_out=wgan --data=" in said and "data_fakes" in said
    before = contents(folder)
    run(folder)
    assert called[5:] == [] and contents(folder) == before
    fakes = Records(folder / "data_fakes")
    assert fakes.names("source") == ["dcgan", "real", "wgan"] and fakes.manifest["created_from"][0]["families"] == [
        "dcgan", "wgan"]
    assert capsys.readouterr().out == said
    with Image.open(folder / "zoo" / "zoo.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5


def test_only_what_has_changed_is_made_again(quick):
    folder, called = quick
    run(folder)
    del called[:]
    run(folder, (*FAMILIES, "lsgan"))
    assert called == ["lsgan", SAMPLE, WRITE]
    del called[:]
    run(folder, (*FAMILIES, "lsgan"), count=24)
    assert called == [SAMPLE] * 3 + [WRITE], "pools of another number"
    del called[:]
    for name in ("index", "data-00000-of-00001"):       # trained anew
        (folder / "zoo" / "wgan" / "checkpoints" / f"ckpt-5.{name}").write_text("others")
    run(folder, (*FAMILIES, "lsgan"), count=24)
    assert called == [SAMPLE, WRITE]
    assert len(Records(folder / "zoo" / "pools" / "wgan")) == 24


def test_fakes_may_lie_elsewhere(quick):
    folder, _ = quick
    run(folder, fakes=str(folder / "mine"))
    assert (folder / "mine" / "manifest.json").exists() and not (folder / "data_fakes").exists()


def test_nothing_that_is_not_ours_is_overwritten(quick):
    folder, called = quick
    run(folder, fakes=str(folder / "mine"))
    with pytest.raises(ValueError, match="`--fakes` is .*mine but holds fakes of wgan as well, which would be lost"):
        run(folder, ("dcgan",), fakes=str(folder / "mine"))
    before = contents(folder / "data")
    with pytest.raises(ValueError, match="`--fakes` is .*data but holds other data than fakes beside .*; name another"):
        run(folder, fakes=str(folder / "data"))
    assert contents(folder / "data") == before and called.count(WRITE) == 1


def test_a_finished_generator_of_something_else_is_not_taken_for_ours(quick):
    folder, called = quick
    run(folder)
    with pytest.raises(ValueError, match="zoo/dcgan holds a training with another `steps`; use another --out, or rem"):
        run(folder, extra=("--config.steps=7",))
    write([Drawn(reals(40, seed=5))], folder / "data", shards=2, overwrite=True)
    del called[:]
    with pytest.raises(ValueError, match="`--fakes` is .*data_fakes but holds other data than fakes beside "):
        run(folder)
    with pytest.raises(ValueError, match="zoo/dcgan holds a training with another data set; use another --out"):
        run(folder, fakes=str(folder / "others"))
    assert called == []


@pytest.mark.parametrize("words, told", [
    ({"extra": ("steps=7",)}, "`steps=7` is not a flag of `keras_apps.train`; every setting is written --name=value"),
    ({"extra": ("--deterministic",)}, "`--deterministic` is not a flag of"),
    ({"data": "nowhere"}, "`--data` is `.*nowhere` but holds no manifest.json; write it by `python -m tfrecords.write"),
])
def test_what_is_typed_wrongly_is_one_sentence(words, told, quick):
    folder, called = quick
    with pytest.raises(ValueError, match=told):
        run(folder, **words)
    assert called == [] and not (folder / "zoo").exists()


# ---- before anything is trained

@pytest.mark.parametrize("make, told", [
    (lambda place: (place / "zoo").write_text(""), "`--out` is .*zoo but that is a file; name a folder"),
    (lambda place: ((place / "zoo").mkdir(), (place / "zoo" / "cat.jpg").write_text("")),
     "`--out` is .*zoo but holds something else, cat.jpg among it; name another folder"),
    (lambda place: ((place / "data_fakes").mkdir(), (place / "data_fakes" / "cat.jpg").write_text("")),
     "`--fakes` is .*data_fakes but that holds something else; name another folder"),
])
def test_what_lies_in_the_way_is_refused_before_the_training(make, told, quick):
    folder, called = quick
    make(folder)
    before = contents(folder)
    with pytest.raises(ValueError, match=told):
        run(folder)
    assert called == [] and contents(folder) == before


# ---- what is shown

def test_the_next_command_fits_the_images_and_the_number_of_families():
    found = zoo.following(plan(), "/data/photos_fakes")
    assert "--config.held_out=wgan --data=" in found and found.endswith("--workdir=build/photos_fakes/wgan")
    assert "--config.size" not in found
    found = zoo.following(plan(("dcgan",), ("--config.size=32",)), "/data/photos_fakes")
    assert "contrastive.py --config.size=32 --data=" in found and "held_out" not in found
    assert "--config.size='(8, 12)'" in zoo.following(plan(extra=("--config.size=(8, 12)",)), "/fakes")


def test_generators_that_learnt_nothing_are_told():
    lines = zoo.table({"dcgan": RESULT, "wgan": {**RESULT, "frechet": 41.0}})
    assert "Caution: the images of wgan are no nearer to real ones than a Gaussian of the pixels." in lines[-1]
    assert not any("Caution" in line for line in zoo.table({"dcgan": RESULT}))
    few = {key: value for key, value in RESULT.items() if key != "frechet_real"}
    lines = zoo.table({"dcgan": {**few, "real_images": 400}})
    assert not any("never trained on" in line for line in lines) and "5,000 images beside 400 real ones" in lines[-1]


def test_the_table_has_families_floor_and_real_images():
    other = {**RESULT, "frechet": 8.0, "minutes": 1.0, "floor_frechet": 77.0}
    other.pop("classes_covered")
    lines = zoo.table({"dcgan": RESULT, "wgan": other})
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:6]]
    assert rows[0] == ["family", "frechet", "precision", "recall", "classes covered", "least class share",
                       "CPU minutes"]
    assert rows[2] == ["dcgan", "12.35", ".800", ".250", "9.000", ".020", "3.2"]
    assert rows[3] == ["wgan", "8.000", ".800", ".250", "-", ".020", "1.0"]
    assert rows[4] == ["a Gaussian of the pixels", "40", ".500", ".100", "4.000", ".000", "-"]
    assert rows[5] == ["real, never trained on", "1.500", "-", "-", "-", "-", "-"]
    said = lines[-1]
    assert "seed 0, over 5,000 images" in said and "accuracy on unseen images 0.910" in said and cells.machine() in said
    without = {key: value for key, value in RESULT.items() if key not in ("encoder_accuracy", "frechet_real")}
    assert "accuracy" not in zoo.table({"dcgan": without})[-1]


@pytest.mark.parametrize("count, across", [(40, 16), (10, 10)])
def test_the_sheet_shows_the_first_of_each_pool_and_real_images_below(count, across, tmp_path):
    pools = []
    for value in (50, 120):
        images = np.full((count, 8, 8), value, np.uint8)
        images[:, 0, 0] = np.arange(count)
        write([Drawn(images, [{"source": f"g{value}"}] * count)], tmp_path / f"g{value}", shards=2)
        pools.append(str(tmp_path / f"g{value}"))
    large = np.full((60, 16, 16), 200, np.uint8)        # real images, larger than the generators'
    write([Drawn(large)], tmp_path / "real", shards=2)
    sheet = zoo.sheet(pools, str(tmp_path / "real"))
    zoom = sheet.shape[1] // (9 * across + 1)
    small = sheet[::zoom, ::zoom, 0]
    assert small.shape == (3 * 9 + 1, 9 * across + 1)
    for row, value in enumerate((50, 120, 200)):
        assert (small[9 * row + 5, 5::9] == value).all()
    assert small[1, 1::9].tolist()[:across] == list(range(across)), "none was picked"


def test_each_row_of_the_sheet_has_its_name():
    sheet = np.full((60, 40, 3), 90, np.uint8)
    found = np.asarray(zoo.named(sheet, ["dcgan", "wgan", "real"]))
    assert found.shape == (60, 40 + zoo.MARGIN, 3) and (found[:, zoo.MARGIN:] == 90).all()
    assert all(found[start:start + 20, :zoo.MARGIN].min() < 100 for start in (0, 20, 40)), "something is written"


@pytest.mark.slow
def test_the_command_makes_a_zoo_and_then_nothing_anew(tmp_path):
    data = write_digits(tmp_path / "digits", count=200)
    words = [sys.executable, "-m", "keras_apps.zoo", f"--data={data}", f"--out={tmp_path / 'zoo'}", "--count=40",
             "--families=dcgan,wgan", "--", "--config.steps=6", "--config.encoder_steps=2", "--config.batch=16",
             "--config.encoder_batch=16", "--config.size=8", "--config.generator=dcgan(width=4)",
             "--config.critic=dcgan(width=4)", "--config.backbone=small_cnn(widths=(4, 4, 4))", "--config.samples=100",
             "--config.checkpoint_every=6", "--config.follow_every=0", "--config.critic_steps=1",
             "--config.data.train_split=", "--config.data.test_split=", "--config.data.holdout=0.2"]
    first = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr[-3000:]
    assert first.stderr.count("drawing 40 images of") == 2
    fakes = Records(tmp_path / "digits_fakes")
    assert fakes.names("source") == ["dcgan", "real", "wgan"] and fakes.manifest["sizes"]["minimum"] == [8, 8]
    facts = fakes.manifest["created_from"][0]
    assert len(set(facts["checkpoints"])) == 2 and facts["families"] == ["dcgan", "wgan"]
    with Image.open(tmp_path / "zoo" / "zoo.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5
    kept = {path: os.stat(path).st_mtime_ns for folder in ("dcgan", "wgan", "pools") for path in (
        tmp_path / "zoo" / folder).rglob("*")} | {path: os.stat(path).st_mtime_ns for path in (
            tmp_path / "digits_fakes").iterdir()}
    second = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert second.returncode == 0 and "drawing" not in second.stderr and "1 of" not in second.stderr
    assert second.stdout == first.stdout and first.stdout.startswith((tmp_path / "zoo" / "zoo.md").read_text())
    assert {path: os.stat(path).st_mtime_ns for path in kept} == kept
