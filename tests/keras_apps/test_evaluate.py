"""`keras_apps.evaluate`: what it refuses, what it leaves in the workdir, and the search by embeddings in files."""

import json
import os
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_apps import evaluate
from keras_apps.loop import Loop
from keras_apps.metrics import protocols
from keras_apps.rerankers.k_reciprocal import KReciprocalReranker
from keras_apps.run import Run, claim, stored_config
from tests.keras_apps.runs import contents, run_evaluate, run_train, small_config, write_data


def test_a_folder_without_a_run_is_refused(data, tmp_path):
    with pytest.raises(ValueError, match="holds no config.json, so no run; give the --workdir of a `keras_apps.train`"):
        run_evaluate(data, tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_run_that_never_reached_a_checkpoint_is_refused(data, tmp_path):
    claim(str(tmp_path), Run(small_config(), str(data), tf.distribute.get_strategy()))
    with pytest.raises(ValueError, match="holds no checkpoint to evaluate; train first"):
        run_evaluate(data, tmp_path)
    assert sorted(contents(tmp_path)) == ["config.json", "data.json", "images.json"]


@pytest.mark.parametrize("harm", ["cut", "removed"])
def test_a_damaged_checkpoint_is_named(harm, workdir, data):
    for path in (workdir / "checkpoints").glob("*.data-*"):
        if harm == "cut":
            os.truncate(path, 1000)
        else:
            path.unlink()
    with pytest.raises(ValueError, match="the checkpoint .*/ckpt-4 cannot be read .*, nor any before it; remove "):
        run_evaluate(data, workdir)


def test_figures_of_other_data_are_refused_and_the_old_ones_stay(workdir, tmp_path):
    before = contents(workdir)
    other = write_data(tmp_path / "other", images=5)
    with pytest.raises(ValueError, match="holds a run whose data differs in `sha256`"):
        run_evaluate(other, workdir)
    assert contents(workdir) == before


def test_it_judges_the_newest_checkpoint_by_its_averaged_weights(workdir, data, capsys):
    (workdir / "evaluation.json").unlink()
    shutil.rmtree(workdir / "pictures")
    run_evaluate(data, workdir)
    said = capsys.readouterr()
    assert "checkpoint of step 4 of 4" in said.err
    for word in ("auc", "eer", "rank1", "floor"):
        assert word in said.out
    found = json.loads((workdir / "evaluation.json").read_text())
    assert found["step"] == 4 and found["seed"] == 0 and found["images"] == 18 and found["identities"] == 3

    run = Run(stored_config(workdir), str(data), tf.distribute.get_strategy())
    loop = run.loop(str(workdir))
    loop.restore()
    live = [value.numpy() for value in loop.trained]
    with loop.averaged():
        expected = run.app.evaluate(run.splits)
    assert any((one != two.numpy()).any() for one, two in zip(live, loop.averages))
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name
    for name in ("roc", "scores", "pairs"):
        picture = np.asarray(Image.open(workdir / "pictures" / f"{name}.png"))
        assert picture.ndim == 3 and picture.std() > 1, name


@pytest.mark.slow
def test_an_unfinished_run_is_judged_where_it_stands_and_can_go_on(data, tmp_path, monkeypatch, capsys):
    config, save = small_config(steps=6), Loop.save

    def save_and_die(loop):
        save(loop)
        if loop.step.numpy() == 4:
            raise KeyboardInterrupt
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            run_train(data, tmp_path, config)
    run_evaluate(data, tmp_path)
    assert "checkpoint of step 4 of 6" in capsys.readouterr().err
    assert json.loads((tmp_path / "evaluation.json").read_text())["step"] == 4
    run_train(data, tmp_path, config)
    assert json.loads((tmp_path / "evaluation.json").read_text())["step"] == 6, "the figures of step 4 are no end"


def start(**words):
    """`python -m keras_apps.evaluate` behind its flags, whichever are given."""
    names = ("workdir", "data", "query", "gallery", "protocol", "precision", "reranker", "out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "FLAGS", types.SimpleNamespace(**{
            **dict.fromkeys(names, ""), **{name: str(value) for name, value in words.items()}}))
        evaluate.start(None)


def sides(seed=0):
    """Queries and a gallery of 8 identities, whose frames lie about a point of each; 6 queries have no match."""
    generator = np.random.default_rng(seed)
    centres, found = generator.normal(size=[9, 8]), []
    for count, last in ((40, 9), (90, 8)):
        ids = np.arange(count) % last
        cameras = generator.integers(0, 3, count)
        found.append({"embeddings": (centres[ids] + generator.normal(size=[count, 8])).astype(np.float32),
                      "identities": ids, "cameras": cameras, "tracks": 3 * ids + cameras})
    found[0]["identities"][np.flatnonzero(found[0]["identities"] == 8)] = 77
    return found


@pytest.fixture
def files(tmp_path):
    for name, arrays in zip("qg", sides()):
        np.savez(tmp_path / f"{name}.npz", **arrays)
    return {"query": tmp_path / "q.npz", "gallery": tmp_path / "g.npz"}


def expected(query, gallery, *words, **more):
    return protocols.evaluate(query["embeddings"], gallery["embeddings"], query["identities"], gallery["identities"],
                              query["cameras"], gallery["cameras"], *words, **more)


def test_files_are_scored_by_the_same_code(files, tmp_path, capsys):
    start(**files, protocol="market1501", out=tmp_path / "scores.json")
    found = json.loads((tmp_path / "scores.json").read_text())
    wanted = expected(*sides(), "market1501")
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-12)
    told = {"protocol": "market1501", "precision": "step", "reranker": "", "gallery": 90, "one_set": False}
    assert {name: found[name] for name in told} == told
    assert found["track_to_track_map"] > found["image_to_track_map"] > found["map"]
    said = capsys.readouterr().out
    for word in ("metric", "rank1", f"{wanted['map']:.4f}", "minp", "track_to_track_map",
                 "4 of 40 queries have no match in the gallery; they are left out of the means"):
        assert word in said
    assert wanted["unmatched"] == 4 and "one set" not in said


def test_names_do_as_well_as_numbers_and_missing_facts_are_left_out(files, tmp_path):
    query, gallery = sides()
    for name, arrays in (("q", query), ("g", gallery)):
        np.savez_compressed(tmp_path / f"{name}.npz", embeddings=arrays["embeddings"],
                            identities=np.char.add("car ", arrays["identities"].astype(str)))
    start(**files, protocol="all", precision="trapezoid", out=tmp_path / "scores.json")
    found = json.loads((tmp_path / "scores.json").read_text())
    assert found["map"] == pytest.approx(expected(query, gallery, "all", "trapezoid")["map"], abs=1e-12)
    assert not any("track" in name for name in found)
    with pytest.raises(ValueError, match="is market1501 but queries and gallery do not both name their cameras"):
        start(**files, protocol="market1501")


def test_a_re_ranker_is_named_by_its_call(files, tmp_path):
    start(**files, protocol="veri", reranker="k_reciprocal(k1=9, k2=3)", out=tmp_path / "scores.json")
    found = json.loads((tmp_path / "scores.json").read_text())
    wanted = expected(*sides(), "veri", reranker=KReciprocalReranker(9, 3))
    assert found["map"] == pytest.approx(wanted["map"], abs=1e-12) and found["reranker"] == "k_reciprocal(k1=9, k2=3)"
    assert wanted["map"] != expected(*sides(), "veri")["map"]


def naive_rank1(rows, identities):
    """Share of the rows whose nearest other row is of their identity, among those that have one."""
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    scores = rows @ rows.T
    np.fill_diagonal(scores, -np.inf)
    same = (identities[:, None] == identities) & ~np.eye(len(rows), dtype=bool)
    return np.mean([same[i, scores[i].argmax()] for i in range(len(rows)) if same[i].any()])


@pytest.mark.parametrize("link", [False, True])
def test_in_one_set_no_image_finds_itself(link, files, tmp_path, capsys):
    gallery = sides()[1]
    other = tmp_path / "link.npz" if link else files["gallery"]
    if link:
        other.symlink_to(files["gallery"])
    start(query=files["gallery"], gallery=other, protocol="all", out=tmp_path / "scores.json")
    found = json.loads((tmp_path / "scores.json").read_text())
    rank1 = naive_rank1(gallery["embeddings"].astype(float), gallery["identities"])
    assert found["rank1"] == pytest.approx(rank1, abs=1e-12) and 0.2 < rank1 < 0.99
    assert found["one_set"] is True and "query and gallery are one set: no image" in capsys.readouterr().out
    _, rows, identities, _ = protocols.tracks(gallery["embeddings"], gallery["tracks"], gallery["identities"])
    assert found["track_to_track_rank1"] == pytest.approx(naive_rank1(rows.astype(float), identities), abs=1e-12)


def test_one_set_is_re_ranked_without_the_own_row(files, tmp_path):
    start(query=files["gallery"], gallery=files["gallery"], protocol="all", reranker="query_expansion(count=1)",
          out=tmp_path / "scores.json")
    found, gallery = json.loads((tmp_path / "scores.json").read_text()), sides()[1]
    rank1 = naive_rank1(gallery["embeddings"].astype(float), gallery["identities"])
    # The row itself is the one that joins: it changes nothing.
    assert found["rank1"] == pytest.approx(rank1, abs=1e-12)


def test_vehicle_id_needs_one_file(files, tmp_path):
    start(query=files["gallery"], protocol="vehicle_id", out=tmp_path / "one.json")
    start(query=files["gallery"], gallery=files["gallery"], protocol="vehicle_id", out=tmp_path / "two.json")
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    assert one == two and one["queries"] == 90 - 8 and one["one_set"]


@pytest.mark.parametrize("words, told", [
    ({}, "nothing to evaluate is given; give either --workdir=DIR and --data=DIR, or --query=FILE"),
    ({"workdir": "w", "data": "d", "query": "q"}, "`--workdir` and `--query` are both given; give either"),
    ({"data": "d", "precision": "step"}, "`--data` and `--precision` are both given"),
    ({"workdir": "w"}, "`--data` is missing; give --data=VALUE."),
    ({"data": "d"}, "`--workdir` is missing"),
    ({"query": "q", "protocol": "all"}, "`--gallery` is missing"),
    ({"gallery": "g", "protocol": "vehicle_id"}, "`--query` is missing"),
    ({"query": "q", "gallery": "g"}, "`protocol` is '' but must be one of market1501, veri, veri_wild"),
    ({"query": "q", "gallery": "g", "protocol": "all"}, "`q` does not exist; give an .npz file"),
    ({"query": "q", "gallery": "q", "protocol": "all"}, "`q` does not exist; give an .npz file"),
    ({"query": "q", "gallery": "g", "protocol": "all", "reranker": "k_recip()"}, "is not a method of rerankers; did"),
    ({"query": "q", "gallery": "g", "protocol": "all", "reranker": "k_reciprocal(k=3)"}, "`k` is not a hyper-"),
    ({"query": "q", "gallery": "g", "protocol": "all", "out": "no/where.json"}, "`--out` is `no/where.json` but its"),
])
def test_flags_that_do_not_go_together_are_one_sentence(words, told):
    with pytest.raises((ValueError, OSError), match=told):
        start(**words)


@pytest.mark.parametrize("change, told", [
    ({"identities": np.arange(40) + 100}, "no query of 40 has a match in the gallery but at least one is needed"),
    ({"embeddings": np.ones([40, 5])}, r"`query` has shape \(40, 5\) and `gallery` \(90, 8\) .* with one model"),
    ({"embeddings": np.full([40, 8], np.nan)}, "has a value in row 0 that is not finite"),
    ({"identities": np.arange(40).astype(str)}, "must both be numbers or both strings"),
    ({"identities": np.arange(4)}, r"`identities` in `.*q.npz` is int64 \(4,\) but must be numbers or strings \[40\]"),
    ({"tracks": np.zeros(40, int)}, "track 0 has the identities"),
])
def test_files_that_do_not_fit_are_one_sentence_and_nothing_is_written(change, told, files, tmp_path):
    np.savez(files["query"], **{**sides()[0], **change})
    with pytest.raises(ValueError, match=told) as raised:
        start(**files, protocol="market1501", out=tmp_path / "scores.json")
    assert "\n" not in str(raised.value) and not (tmp_path / "scores.json").exists()
    with pytest.raises(ValueError, match="`precision` is 'area'"):
        start(query=files["gallery"], gallery=files["gallery"], protocol="all", precision="area")


@pytest.mark.slow
def test_the_command_says_one_sentence(files, tmp_path):
    def said(*words):
        return subprocess.run([sys.executable, "-m", "keras_apps.evaluate", *words], capture_output=True, text=True)
    done = said(f"--query={files['query']}", f"--gallery={files['gallery']}", "--protocol=veri",
                f"--out={tmp_path / 'scores.json'}")
    assert done.returncode == 0 and "hit1" in done.stdout and (tmp_path / "scores.json").exists(), done.stderr
    done = said()
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("error: nothing to evaluate is given;")


# ---- what was watched while training

def rows_of(workdir, *rows):
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_what_was_watched_becomes_a_chart(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(evaluate.charts, "curve", lambda steps, series, *_: drawn.append((steps, series)) or "chart")
    rows_of(tmp_path, {"step": 1, "train/loss": 3.0}, {"step": 20, "follow/auc": 0.5}, {"step": 30, "train/loss": 2.0},
            {"step": 40, "follow/auc": 0.7, "follow/f": 0.6})
    assert evaluate.followed(tmp_path) == {"followed": "chart"}
    (steps, series), = drawn
    assert steps == [20, 40] and list(series) == ["auc", "f"] and series["auc"] == [0.5, 0.7]
    assert np.isnan(series["f"][0]) and series["f"][1] == 0.6
    monkeypatch.undo()
    picture = evaluate.followed(tmp_path)["followed"]
    assert picture.dtype == np.uint8 and picture.std() > 5


def test_nothing_watched_or_once_is_no_chart(tmp_path):
    assert evaluate.followed(tmp_path) == {}
    rows_of(tmp_path, {"step": 1, "train/loss": 3.0}, {"step": 2, "train/loss": 2.0})
    assert evaluate.followed(tmp_path) == {}
    rows_of(tmp_path, {"step": 1, "follow/auc": 0.5}, {"step": 2, "train/loss": 2.0})
    assert evaluate.followed(tmp_path) == {}


def test_an_evaluation_leaves_a_page_with_its_figures_and_pictures(workdir, data):
    (workdir / "evaluation.json").unlink()
    run_evaluate(data, workdir)
    page = (workdir / "report.html").read_text()
    found = json.loads((workdir / "evaluation.json").read_text())
    assert found["floor"] == "raw pixels" and f"{found['auc']:.4f}" in page and f"{found['floor_auc']:.4f}" in page
    assert page.count("data:image/png;base64,") == len(list((workdir / "pictures").glob("*.png"))) >= 4
