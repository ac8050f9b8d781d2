import json
import re

import numpy as np
import pytest
from PIL import Image

from keras_apps import cells
from keras_apps.claims import claim as claims
from keras_apps.claims import results
from keras_apps.config import changed, flat

CLAIM = claims.Claim({"digits": "--digits"}, {name: claims.Arm("verification/digits", "digits") for name in ("a", "b")},
                     "auc", ("a > b",), 7.0, also=("eer",))
FOUND = {"auc": 0.9, "eer": 0.1, "floor_auc": 0.85, "map": 0.2, "minutes": 0.5, "data_sha256": "0f"}
FILE = '''"""First line.

Claimed: something.
"""
from keras_apps.claims.claim import Arm, Claim
CLAIM = Claim({"digits": "--digits"}, {name: Arm("verification/digits", "digits") for name in ("a", "b")}, "auc",
              ("a > b",), 7.0, also=("eer",))
'''


@pytest.fixture
def folder(tmp_path):
    """A folder with one claim, app/one."""
    (tmp_path / "claims_of_ours" / "app").mkdir(parents=True)
    (tmp_path / "claims_of_ours" / "app" / "one.py").write_text(FILE)
    (tmp_path / "claims_of_ours" / "app" / "_helper.py").write_text("")
    return tmp_path / "claims_of_ours"


def test_what_is_stored_comes_back_and_only_the_claims_own_figures(tmp_path):
    results.store("app/one", CLAIM, "a", 2, {"steps": 3}, FOUND, tmp_path)
    found = results.stored("app/one", CLAIM, tmp_path)
    assert found["b"] == {} and list(found["a"]) == [2]
    entry = found["a"][2]
    assert entry["metrics"] == {"auc": 0.9, "eer": 0.1, "floor_auc": 0.85}
    assert entry["config_hash"] == results.digest({"steps": 3}) and entry["machine"] == cells.machine()
    assert str(tmp_path) not in json.dumps(entry)
    (tmp_path / "claims" / "app" / "one" / "gone-0.json").write_text("{}")      # an arm that the claim once had
    assert results.stored("app/one", CLAIM, tmp_path) == found


def test_a_training_that_did_not_measure_it_is_refused(tmp_path):
    with pytest.raises(ValueError, match="app/one compares `eer` but arm a measured only auc, "):
        results.store("app/one", CLAIM, "a", 0, {}, {key: FOUND[key] for key in FOUND if key != "eer"}, tmp_path)
    assert not (tmp_path / "claims").exists()


def test_minutes_are_measured_once_every_arm_was_run(tmp_path):
    assert results.minutes(CLAIM, results.stored("app/one", CLAIM, tmp_path)) == 7.0
    for arm, seed, minutes in (("a", 0, 0.5), ("a", 1, 1.5), ("b", 0, 0.25)):
        results.store("app/one", CLAIM, arm, seed, {}, {**FOUND, "minutes": minutes}, tmp_path)
    found = results.stored("app/one", CLAIM, tmp_path)
    assert results.minutes(CLAIM, found) == pytest.approx(3 * (1.0 + 0.25))
    assert results.missing(CLAIM, found, 2) == [("b", 1)]


def test_the_document_shows_arms_seeds_floor_rules_and_verdict(folder, tmp_path):
    assert "| `app/one` | First line. | not run | 7.0" in results.document(tmp_path, folder)
    for arm, aucs in (("a", (0.9, 0.92)), ("b", (0.8, 0.81))):
        for seed, auc in enumerate(aucs):
            results.store("app/one", CLAIM, arm, seed, {}, {**FOUND, "auc": auc}, tmp_path)
    text = re.sub(" +", " ", results.document(tmp_path, folder))
    assert "| `app/one` | First line. | holds | 3.0 |" in text
    assert "| a | digits | .900 | .920 | .910 ± .014 | .100 ± .000 |" in text
    assert "| raw pixels | digits | | | .850 | |" in text
    assert "| `a > b` | +0.1050 | 0.0050 | 2 | holds |" in text and "Verdict: **holds**" in text
    assert "Claimed: something." in text and cells.machine() in text


def test_the_committed_document_is_what_the_files_give():
    path = results.DOCS / "claims.md"
    if not path.exists():
        pytest.skip("no docs/claims.md here")
    assert path.read_text() == results.document(), "write it again by `python -m keras_apps.claims --name=...`"


@pytest.mark.parametrize("name", claims.every())
def test_committed_results_are_of_the_present_configs_and_hold_no_path(name):
    claim, stale = claims.load(name), []
    for arm, seeds in results.stored(name, claim).items():
        for seed, entry in seeds.items():
            facts = claim.arms[arm]
            now = flat(cells.config_of(facts.path, facts.words(seed)))
            stale += [f"{arm}-{seed}: {key}" for key in changed(entry["config"], now)]
            assert entry["config_hash"] == results.digest(entry["config"]) and claim.metric in entry["metrics"]
            assert not re.search(r'": "/|[A-Z]:\\', json.dumps(entry))
    assert not stale, f"run `python -m keras_apps.claims --name={name}` again"


# ---- curves, and claims beside each other

CURVED = claims.Claim(CLAIM.sets, CLAIM.arms, "auc", ("a > b",), 7.0, curves=("f", "distance"))


def history(shift=0.0, steps=(20, 40, 60)):
    rows = [{"step": step, "train/loss": 1.0, "follow/f": step / 100 + shift, "follow/distance": 1.0} for step in steps]
    return [{"step": 1, "train/loss": 2.0}, *rows]


def test_curves_are_kept_with_the_results_of_claims_that_name_some(tmp_path):
    results.store("app/one", CURVED, "a", 0, {}, FOUND, tmp_path, history())
    entry = results.stored("app/one", CURVED, tmp_path)["a"][0]
    assert entry["curves"] == {"f": [[20, 0.2], [40, 0.4], [60, 0.6]], "distance": [[20, 1.0], [40, 1.0], [60, 1.0]]}
    results.store("app/two", CLAIM, "a", 0, {}, FOUND, tmp_path, history())
    assert "curves" not in results.stored("app/two", CLAIM, tmp_path)["a"][0]


def test_the_floor_is_named_where_it_is_another_one(tmp_path):
    for seed, floor in ((0, "raw pixels"), (1, "8 x 8 thumbnail")):
        results.store("app/one", CLAIM, "a", seed, {}, {**FOUND, "floor": floor}, tmp_path)
    found = results.stored("app/one", CLAIM, tmp_path)
    assert "floor" not in found["a"][0] and found["a"][1]["floor"] == "8 x 8 thumbnail"
    assert any(line.startswith("| 8 x 8 thumbnail | digits |") for line in results.report(CLAIM, found))


def test_curves_are_drawn_as_means_over_the_seeds_a_line_an_arm(tmp_path, monkeypatch):
    lines = {}
    savefig = results.Figure.savefig

    def noted(figure, path, **words):
        for axes in figure.axes:
            lines[axes.get_ylabel()] = {line.get_label(): line.get_xydata() for line in axes.get_lines()}
        savefig(figure, path, **words)
    monkeypatch.setattr(results.Figure, "savefig", noted)
    results.store("app/one", CURVED, "a", 0, {}, FOUND, tmp_path, history())
    results.store("app/one", CURVED, "a", 1, {}, FOUND, tmp_path, history(0.1, steps=(20, 40)))     # looked at less
    results.store("app/one", CURVED, "b", 0, {}, FOUND, tmp_path)                                  # nothing was watched
    results.draw_curves("app/one", CURVED, tmp_path)
    assert set(lines) == {"f", "distance"} and list(lines["f"]) == ["a (2 seeds)"]
    np.testing.assert_allclose(lines["f"]["a (2 seeds)"], [[20, 0.25], [40, 0.45]])
    with Image.open(tmp_path / "claims" / "app" / "one" / "curves.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5
    path = tmp_path / "claims" / "app" / "one" / "curves.png"
    first = path.read_bytes()
    results.draw_curves("app/one", CURVED, tmp_path)
    assert path.read_bytes() == first, "the same figures, the same bytes"


def test_the_document_shows_the_curves_that_are_there(folder, tmp_path):
    (folder / "app" / "one.py").write_text(FILE.replace('also=("eer",)', 'curves=("f", "distance")'))
    assert "curves.png" not in results.document(tmp_path, folder)
    results.store("app/one", CURVED, "a", 0, {}, FOUND, tmp_path, history())
    results.draw_curves("app/one", CURVED, tmp_path)
    assert "![f, distance while training](claims/app/one/curves.png)" in results.document(tmp_path, folder)


def test_claims_of_an_app_stand_side_by_side(folder, tmp_path):
    beside = FILE.replace('also=("eer",)', 'beside=("eer", "map")')
    for name in ("one", "two"):
        (folder / "app" / f"{name}.py").write_text(beside)
    (folder / "other").mkdir()
    (folder / "other" / "three.py").write_text(FILE)        # names no figures beside
    claim = claims.load("app/one", folder)
    for name, eers in (("one", (0.1, 0.3)), ("two", (0.4,))):
        for seed, eer in enumerate(eers):
            results.store(f"app/{name}", claim, "a", seed, {}, {**FOUND, "eer": eer}, tmp_path)
    results.store("app/one", claim, "b", 0, {}, {**FOUND, "eer": 0.7}, tmp_path)
    text = re.sub(" +", " ", results.document(tmp_path, folder))
    table = text.partition("### app: eer / map\n\n")[2].splitlines()
    assert table[0] == "| arm | one | two | mean |"
    assert table[2] == "| a | .200 / .200 | .400 / .200 | .300 / .200 |"
    assert table[3] == "| b | .700 / .200 | - / - | .700 / .200 |", "the mean of what there is"
    assert "### other" not in text
    (folder / "app" / "two.py").write_text(FILE)
    assert "| arm | one | mean |" in re.sub(" +", " ", results.document(tmp_path, folder))


def test_without_results_side_by_side_is_empty_not_wrong(folder, tmp_path):
    (folder / "app" / "one.py").write_text(FILE.replace('also=("eer",)', 'beside=("eer",)'))
    assert "| a | - | - |" in re.sub(" +", " ", results.document(tmp_path, folder))
