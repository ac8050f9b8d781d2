"""Pools of fakes from a trained generator: what is in them, what they say of it, what is refused."""

import os
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from keras_apps import sample
from keras_apps.run import Run, claim, stored_app
from keras_apps.strategy import make_strategy
from tests.keras_apps.fakes import small_generation, write_digits
from tests.keras_apps.runs import contents, run_train, small_config
from tfrecords.read import Records, file_sha256
from tfrecords.sources.fakes import FakesSource

TINY = {"generator": "mlp(width=8)", "critic": "mlp(width=8)", "steps": 4, "encoder_steps": 1, "checkpoint_every": 2,
        "family": "tiny"}


@pytest.fixture(scope="module")
def digits_folder(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("sample") / "digits", count=120)


@pytest.fixture(scope="module")
def workdir(digits_folder, tmp_path_factory):
    return begun(digits_folder, tmp_path_factory.mktemp("sample_run") / "run")


def begun(data, folder, **changes):
    """A workdir as a training leaves it, with checkpoints of the steps 2 and 4, averages and weights apart."""
    run = Run(small_generation(**TINY, **changes), data, tf.distribute.get_strategy())
    claim(str(folder), run)
    loop = run.loop(str(folder))
    for step in (2, 4):
        for value, average in zip(loop.trained, loop.averages):
            value.assign(1.1 * value)
            average.assign(value + 0.1)
        loop.step.assign(step)
        loop.save()
    return folder


def draw(workdir, out, count, **words):
    """`python -m keras_apps.sample` behind its flags."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample, "FLAGS", types.SimpleNamespace(**{
            "workdir": str(workdir), "out": str(out), "count": count, "first": 0, "shards": 2, "overwrite": False,
            **words}))
        sample.main(None)
    return Records(out)


def pixels(records):
    return np.stack([tf.io.decode_png(data).numpy() for data in records.images(range(len(records)))])


def test_a_pool_holds_the_images_of_its_seeds_by_the_averaged_weights(workdir, tmp_path, capsys):
    records = draw(workdir, tmp_path / "pool", 40)
    app, loop, config, _ = stored_app(str(workdir), make_strategy("one"))
    with loop.averaged():
        wanted = np.round(app.drawn(0, 40)[0] * 255)
    np.testing.assert_array_equal(pixels(records), wanted)
    assert np.abs(wanted - np.round(app.drawn(0, 40)[0] * 255)).max() > 0, "else averages are not told apart here"
    assert records.names("source") == ["tiny"] and set(records.values("source", range(40))) == {"tiny"}
    assert not records.has("label") and records.paths([3]) == ["tiny/0000003.png"]
    said = capsys.readouterr().out
    assert "40 grey images" in said and "made by          tiny, ckpt-4 of" in said and "next:" not in said


def test_its_manifest_names_the_weights_and_the_data_they_were_trained_on(workdir, digits_folder, tmp_path):
    records = draw(workdir, tmp_path / "pool", 12)
    facts, = records.manifest["created_from"]
    path = workdir / "checkpoints" / "ckpt-4"
    assert facts["source"] == "generator" and facts["generated"] is True and facts["family"] == "tiny"
    assert facts["checkpoint"] == "ckpt-4" and facts["step"] == 4 and facts["seed"] == 0
    assert facts["weights_sha256"] == file_sha256(f"{path}.data-00000-of-00001")
    assert facts["checkpoint_sha256"] == file_sha256(f"{path}.index")
    assert facts["size"] == [8, 8] and facts["fit"] == "stretch" and facts["generator"] == "mlp(width=8)"
    data = Records(digits_folder).manifest
    assert (facts["trained_on"], facts["trained_on_sha256"]) == ("digits", data["data_sha256"])
    source = FakesSource(digits_folder, (str(tmp_path / "pool"),))
    assert source.description["checkpoints"] == [facts["weights_sha256"]]


def test_it_goes_on_from_any_seed_and_does_not_need_the_data(workdir, tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "BLOCK", 16)
    shutil.copytree(workdir, tmp_path / "alone")        # nothing but the workdir
    whole = pixels(draw(tmp_path / "alone", tmp_path / "whole", 50))
    monkeypatch.setattr(sample, "BLOCK", 1024)
    part = draw(workdir, tmp_path / "part", 20, first=30)
    np.testing.assert_array_equal(pixels(part), whole[30:])
    assert part.paths([0, 19]) == ["tiny/0000030.png", "tiny/0000049.png"]
    assert len({image.tobytes() for image in whole}) > 45


def test_images_of_wanted_classes_have_their_label(digits_folder, tmp_path):
    records = draw(begun(digits_folder, tmp_path / "run", conditional=True), tmp_path / "pool", 25, first=3)
    assert [int(label) for label in records.values("label", range(25))] == [(3 + place) % 10 for place in range(25)]


def test_an_interrupted_call_goes_on_and_a_finished_one_must_be_told_to_overwrite(workdir, tmp_path, monkeypatch):
    whole = draw(workdir, tmp_path / "whole", 40, shards=4)
    image, made = sample._Drawn._image, []

    def dying(source, place):
        made.append(place)
        if len(made) == 25:
            raise KeyboardInterrupt
        return image(source, place)
    monkeypatch.setattr(sample._Drawn, "_image", dying)
    out = tmp_path / "whole2" / "whole"     # the same name
    with pytest.raises(KeyboardInterrupt):
        draw(workdir, out, 40, shards=4)
    assert not (out / "manifest.json").exists()
    again = draw(workdir, out, 40, shards=4)
    assert again.manifest["data_sha256"] == whole.manifest["data_sha256"]
    assert len(made) < 25 + 40, "the shards that were finished are kept"
    before = contents(out)
    with pytest.raises(FileExistsError, match="give --overwrite"):
        draw(workdir, out, 40)
    assert contents(out) == before
    assert len(draw(workdir, out, 10, overwrite=True)) == 10


def test_a_generator_that_is_not_finished_is_told(workdir, tmp_path, capsys):
    shutil.copytree(workdir, tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").glob("ckpt-4*"):
        path.unlink()
    records = draw(tmp_path / "run", tmp_path / "pool", 10)
    assert "warning: the generator stands at step 2 of 4." in capsys.readouterr().err
    assert records.manifest["created_from"][0]["checkpoint"] == "ckpt-2"


def test_where_the_newest_checkpoint_is_damaged_the_one_that_was_read_is_named(workdir, tmp_path, capsys):
    shutil.copytree(workdir, tmp_path / "run")
    os.truncate(tmp_path / "run" / "checkpoints" / "ckpt-4.data-00000-of-00001", 1000)
    facts, = draw(tmp_path / "run", tmp_path / "pool", 10).manifest["created_from"]
    path = workdir / "checkpoints" / "ckpt-2"
    assert (facts["checkpoint"], facts["step"]) == ("ckpt-2", 2)
    assert facts["weights_sha256"] == file_sha256(f"{path}.data-00000-of-00001")
    assert "ckpt-4 is damaged" in capsys.readouterr().err


def test_a_folder_without_a_run_or_a_checkpoint_is_refused(workdir, tmp_path):
    with pytest.raises(ValueError, match="holds no config.json, so no run; give the --workdir of a `keras_apps.train`"):
        draw(tmp_path / "nowhere", tmp_path / "pool", 10)
    shutil.copytree(workdir, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(ValueError, match="run holds no checkpoint; train it first by `python -m keras_apps.train`"):
        draw(tmp_path / "run", tmp_path / "pool", 10)
    (tmp_path / "run" / "images.json").unlink()
    with pytest.raises(ValueError, match="does not say what its images are .* train it again with the present version"):
        draw(tmp_path / "run", tmp_path / "pool", 10)
    assert not (tmp_path / "pool").exists()


def test_a_run_of_another_app_makes_no_images(digits_folder, tmp_path):
    claim(str(tmp_path / "run"), Run(small_config(size=8), digits_folder, tf.distribute.get_strategy()))
    with pytest.raises(ValueError, match="holds a run of the app `verification`, which makes no images; give the --wo"):
        draw(tmp_path / "run", tmp_path / "pool", 10)


@pytest.mark.slow
def test_the_command_draws_from_a_real_training_and_says_one_sentence(digits_folder, workdir, tmp_path):
    def said(*words):
        return subprocess.run([sys.executable, "-m", "keras_apps.sample", *words], capture_output=True, text=True)
    run_train(digits_folder, tmp_path / "run", small_generation(**TINY))
    done = said(f"--workdir={tmp_path / 'run'}", f"--out={tmp_path / 'pool'}", "--count=10")
    assert done.returncode == 0 and "10 grey images" in done.stdout, done.stderr
    done = said(f"--workdir={tmp_path}", f"--out={tmp_path / 'other'}", "--count=10")
    assert done.returncode == 1 and done.stderr.strip().splitlines()[-1].startswith(f"error: {tmp_path} holds no conf")
    assert "`--count` is `0` but must be" in said(f"--workdir={workdir}", "--out=x", "--count=0").stderr
