"""What the model card tells the person who has to trust the model."""

import types

import pytest
from ml_collections import ConfigDict

from keras_apps.card import about_embedding, cautions, model_card, threshold_note
from keras_apps.figures import Grid

RESULT = {"auc": 0.91234, "eer": 0.08, "rank1": 0.75, "floor_auc": 0.88, "floor_eer": 0.15, "threshold": 0.61,
          "far_at_threshold": 0.0123, "tar_at_threshold": 0.456, "identities": 5, "images": 900, "step": 1000,
          "seed": 3, "minutes": 1.5, "minutes_wall": 0.75, "unseen_identities": 1.0, "commit": "0123456789ab",
          "data_sha256": "feed" * 16}


def card(run=None, settings=None, grids=(), **changes):
    config = types.SimpleNamespace(steps=1000, batch=40, seed=3, backbone="small_cnn()", pooling="flatten()",
                                   head="cosface(scale=8.0)", loss="")
    records = types.SimpleNamespace(name="photos", count=1797)
    app = types.SimpleNamespace(
        config=ConfigDict({"embedding": 64, **config.__dict__, **(settings or {})}), kinds="identities",
        floor="raw pixels", judged_by="pairs", network=types.SimpleNamespace(dimension=128),
        about=lambda result: about_embedding(app, result), grids=lambda result: list(grids))
    run = types.SimpleNamespace(records=records, config=config, rows=range(100), names=list("01234"), app=app,
                                **(run or {}))
    return model_card("verification", run, {**RESULT, **changes})


def table(text):
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    return {name.strip(): (value.strip(), floor.strip()) for name, value, floor in rows[1:]}


def test_every_figure_stands_beside_its_floor():
    found = table(card())
    assert found["auc"] == ("0.9123", "0.8800") and found["eer"] == ("0.0800", "0.1500")
    assert found["rank1"] == ("0.7500", ""), "no floor is made up where there is none"
    assert not [name for name in found if name.startswith(("floor_", "minutes", "unseen"))]
    assert set(found) == {"auc", "eer", "rank1", "threshold", "far_at_threshold", "tar_at_threshold"}


def test_grids_stand_before_the_other_figures_and_are_not_told_twice():
    grid = Grid("Ways", "More is nearer.", {"model": "{}", "floor": "floor_{}"}, {"AUC": "auc", "EER": "eer"})
    text = card(grids=[grid])
    assert "## Ways\n\n|       | AUC   | EER   |\n|-------|-------|-------|\n| model | 0.912 | 0.080 |" in text
    assert "| floor | 0.880 | 0.150 |\n\nMore is nearer." in text
    assert text.index("## Ways") < text.index("| rank1 ") and "| auc " not in text and "| eer " not in text


def test_it_says_what_was_trained_on_what():
    text = card()
    for words in ("# verification", "100 images of 5 identities from `photos`", "1797 images", f"`{'feed' * 16}`",
                  "to step 1000, batches of 40", "seed 3", "0.8 minutes", "`small_cnn()`, `flatten()`, 64 dimensions",
                  "head `cosface(scale=8.0)`, loss `none`", "Commit `0123456789ab`."):
        assert words in text, words
    assert "Commit `unknown`" in card(commit="")


def test_it_says_how_a_search_is_made_and_judged():
    settings = {"embedding": 0, "neck": "mffm(fused=128)", "norm": "batch", "matcher": "oriented(branch=64)",
                "protocol": "veri"}
    text = " ".join(card(settings=settings).split())
    for words in ("`small_cnn()`, neck `mffm(fused=128)`, `flatten()`, 128 dimensions, norm `batch`; head",
                  "Matcher `oriented(branch=64)`: ", "Embed queries by `ask`, what is searched by `embed`;",
                  "Of `verify` the first image asks", "Searches are judged by the protocol `veri`. Commit"):
        assert words in text, words
    plain = " ".join(card(settings={**settings, "matcher": "", "protocol": ""}).split())
    assert not any(word in plain for word in ("atcher", "`ask`", "protocol")) and "norm `batch`" in plain


def test_what_the_config_does_not_have_is_not_named():
    text = card()
    assert not any(word in text for word in ("neck", "norm `", "atcher", "`ask`", "protocol", "None"))
    assert "`flatten()`, 64 dimensions;\nhead `cosface(scale=8.0)`, loss `none`.\nCommit" in text


@pytest.mark.parametrize("unseen, said, not_said", [
    (1.0, "identities that were never trained on", "too few identities to hold any back"),
    (0.0, "other images of the trained identities: too few identities to hold any back", "never trained on"),
])
def test_it_does_not_promise_more_than_was_judged(unseen, said, not_said):
    text = card(unseen_identities=unseen)
    assert f"Judged on {said}." in text and not_said not in text


def test_the_threshold_is_told_with_what_it_did_on_pairs_it_was_not_fitted_on():
    text = " ".join(card().split())
    assert "accepts 1.2% of the different and 45.6% of the same pairs" in text
    assert "Other cameras, other light or another kind of object need a new threshold" in text
    unchecked = {key: value for key, value in RESULT.items() if not key.endswith("_at_threshold")}
    note = threshold_note(unchecked)
    assert "on all held-out pairs: too few identities are held out to check it" in note and "accepts" not in note


@pytest.mark.parametrize("changes, told", [
    ({"unseen_identities": 0.0}, "No identity was held back"),
    ({"left_out": 1200}, "1,200 held-out images were left out"),
    ({"auc": 0.87}, "AUC is 0.870 but the floor (raw pixels) reaches 0.880: do not serve this model."),
    ({"floor_rank1": 0.9}, "rank-1 is 0.750 but the floor (raw pixels) reaches 0.900"),
    ({"auc_lr_hr": 0.8, "floor_auc_lr_hr": 0.9, "auc_lr_lr": 0.95, "floor_auc_lr_lr": 0.9},
     "AUC of low images that ask among whole ones is 0.800 but the floor (raw pixels) reaches 0.900: do not serve this "
     "model for"),
    ({"threshold_pairs": 153}, "The threshold rests on 153 different pairs"),
    ({"far_at_threshold": 0.096}, "has 0.096 on identities it was not fitted on"),
])
def test_what_a_figure_warns_of_is_told_and_nothing_else(changes, told):
    good = {**RESULT, "threshold_far": 0.01, "threshold_pairs": 5000}
    assert cautions(good) == []
    found, = cautions({**good, **changes})
    assert told in found and f"**{found}**" in card(**{**good, **changes})


def test_restored_images_that_are_no_better_than_bicubic_are_warned_of():
    good = {"psnr": 27.0, "floor_psnr": 25.0, "top1": 0.7, "floor_top1": 0.25, "floor": "bicubic", "nearest_top1": 0.3,
            "chance_top1": 0.1, "hr_top1": 0.9}
    assert cautions(good) == []
    assert cautions({**good, "psnr": 24.0}) == [
        "PSNR is 24.000 but the floor (bicubic) reaches 25.000: do not serve this model."]
    told = cautions({**good, "top1": 0.5, "floor_top1": 0.6})[0]
    assert "top-1 is 0.500 but the floor (bicubic) reaches 0.600" in told
    assert "0.800 with pca, which learn less" in cautions({**good, "pca_top1": 0.8, "nmf_top1": 0.2})[0]
    assert "hardly above chance (0.100)" in cautions({**good, "top1": 0.2, "floor_top1": 0.0, "nearest_top1": 0.0})[0]
    assert "knows only 70% of the images that were lost" in cautions({**good, "hr_top1": 0.7})[0]
    told, = cautions({**good, "unseen_identities": 0.0})
    assert told.startswith("The restored images are of identities") and "verify" not in told
