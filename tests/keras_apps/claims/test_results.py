import json
import re

import pytest

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
