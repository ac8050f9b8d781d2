import math

import pytest

from keras_apps import cells
from keras_apps.build import ROOT, build
from keras_apps.claims.claim import Arm, Claim, Difference, every, figures_of, judge, load, parse, text_of

LOSSES = {**dict.fromkeys(("image_generation", "face_hallucination", "super_resolution"), "losses/adversarial"),
          "small_sample_diagnosis": "losses/pair"}


def claim(*rules, arms=("a", "b"), **words):
    arms = {name: Arm("verification/digits", "digits") for name in arms}
    return Claim({"digits": "--digits"}, arms, "auc", rules, 1.0, **words)


def found(**arms):
    """{arm: {seed: content}} of lists of AUCs, or of dictionaries."""
    return {arm: {seed: {"metrics": value if isinstance(value, dict) else {"auc": value}}
                  for seed, value in enumerate(values)} for arm, values in arms.items()}


def test_a_rule_is_judged_by_the_paired_mean_and_its_standard_error():
    verdict, (judged,) = judge(claim("a > b"), found(a=[0.9, 0.7, 0.8], b=[0.8, 0.65, 0.65]))
    # Differences .1, .05, .15: mean .1, deviation .05, error .05 / sqrt 3. Unpaired, the seeds' spread would hide it.
    assert verdict == judged.verdict == "holds" and judged.seeds == 3
    assert judged.mean == pytest.approx(0.1) and judged.error == pytest.approx(0.05 / math.sqrt(3))


@pytest.mark.parametrize("rule, a, b, verdict", [
    ("a > b", [0.9, 0.9], [0.8, 0.7], "holds"), ("a < b", [0.9, 0.9], [0.8, 0.7], "fails"),
    ("a > b", [0.9, 0.7], [0.8, 0.8], "undecided"),         # mean 0
    ("a > b", [0.9, 0.8], [0.8, 0.85], "undecided"),        # mean .025, error .075
    ("a > b", [0.8, 0.8], [0.8, 0.8], "undecided"),         # the same figures tell nothing
    ("a > b", [0.9], [0.1], "undecided"),                   # one seed has no spread
    ("a > 0.5", [0.9, 0.8], [0, 0], "holds"), ("a < 0.5", [0.9, 0.8], [0, 0], "fails"), ("a > b", [], [], "not run"),
    ("a > b", [math.nan, 0.9], [0.1, 0.1], "undecided"),
])
def test_verdicts(rule, a, b, verdict):
    assert judge(claim(rule), found(a=a, b=b))[0] == verdict


def test_a_claim_holds_where_all_rules_do_and_fails_where_one_does():
    results = found(a=[0.9, 0.9], b=[0.8, 0.7], c=[0.85, 0.95])
    for rules, verdict in ((("a > b", "a > 0.5"), "holds"), (("a > b", "a > c"), "undecided"),
                           (("a > b", "a > c", "a < b"), "fails")):
        assert judge(claim(*rules, arms="abc"), results)[0] == verdict


def test_a_rule_may_name_another_figure():
    results = found(a=[{"auc": 0.9, "loss": 0.1}] * 2, b=[{"auc": 0.8, "loss": 0.3, "floor_auc": 0.85}] * 2)
    both = claim("a.loss < b.loss", "b < b.floor_auc", also=("eer",))
    assert judge(both, results)[0] == "holds"
    assert both.keys == ["auc", "floor_auc", "eer", "loss"]
    assert judge(claim("a.eer < b"), results)[0] == "undecided", "no such figure: nothing is decided"


def test_only_seeds_that_every_arm_has_are_paired():
    results = found(a=[0.9, 0.9, 0.1], b=[0.8, 0.7])
    verdict, (judged,) = judge(claim("a > b"), results)
    assert (verdict, judged.seeds) == ("holds", 2)
    del results["b"]
    assert judge(claim("a > b"), results) == ("not run", [])


@pytest.mark.parametrize("make, told", [
    (lambda: claim("a > c"), "'c' but the arms are a, b"), (lambda: claim("a >> b"), "'a >> b' must be"),
    (lambda: claim("a>b"), "'a>b' must be"), (lambda: claim(arms=("A",)), "'A' but a name"),
    (lambda: Claim({}, {"a": Arm("x", "digits")}, "auc", (), 1.0), "`data` of arm a is 'digits'"),
    (lambda: load("verification/semi_hard"), "did you mean verification/semi_hard_beats_random"),
])
def test_what_does_not_fit_is_refused(make, told):
    with pytest.raises(ValueError, match=told):
        make()


def test_overrides_are_words_of_train():
    arm = Arm("verification/digits", "digits", {"loss": "triplet(mining='all')", "data.mixing": (), "dropout": 0.0})
    assert arm.words(2) == ("--config.loss=triplet(mining='all')", "--config.data.mixing=()", "--config.dropout=0.0",
                            "--config.seed=2")
    assert parse("a.loss < 0.5") == (("a", "loss"), "<", 0.5)


@pytest.mark.parametrize("name", every())
def test_every_claim_says_what_it_claims_and_fits_its_configs(name):
    found, text = load(name), text_of(name)
    assert all(f"\n{part}: " in text for part in ("Claimed", "Source", "Shrunk"))
    assert found.rules and 0 < found.minutes <= 30
    assert all(arm.path.is_relative_to(ROOT) and arm.path.exists() for arm in found.arms.values())
    assert {arm.data for arm in found.arms.values()} == set(found.sets)
    for arm in found.arms.values():
        config = cells.config_of(arm.path, arm.words(0))
        build("schedules", config["schedule"], steps=config["steps"])       # shortened: is the warm-up too long now?
        if config["loss"]:
            build(LOSSES.get(config["app"], "losses/metric"), config["loss"])


# ---- differences, figures beside each other, curves

def test_a_side_may_be_the_difference_of_two_figures():
    rule = "a - b > a.seen - b.seen"
    assert parse(rule) == (Difference(("a", ""), ("b", "")), ">", Difference(("a", "seen"), ("b", "seen")))
    assert figures_of(rule) == [("a", ""), ("b", ""), ("a", "seen"), ("b", "seen")]
    assert parse("a - 0.5 > b") == (Difference(("a", ""), 0.5), ">", ("b", ""))
    assert figures_of("a - 0.5 < 0.1") == [("a", "")]
    assert claim(rule).keys == ["auc", "floor_auc", "seen"]


def test_differences_are_paired_seed_by_seed():
    results = found(a=[{"auc": 0.9, "seen": 0.95}, {"auc": 0.8, "seen": 0.96}],
                    b=[{"auc": 0.7, "seen": 0.94}, {"auc": 0.5, "seen": 0.91}])
    verdict, (judged,) = judge(claim("a - b > a.seen - b.seen"), results)
    # (0.2 - 0.01, 0.3 - 0.05) = (0.19, 0.25): mean 0.22, error 0.03.
    assert verdict == "holds" and judged.mean == pytest.approx(0.22) and judged.error == pytest.approx(0.03)
    assert judge(claim("a - b < a.seen - b.seen"), results)[0] == "fails"
    assert judge(claim("a.seen - a < 0.3"), results)[0] == "holds"
    assert judge(claim("a - b > 0.25"), results)[0] == "undecided"      # differences -0.05, 0.05
    assert judge(claim("a - a.none > 0"), results)[0] == "undecided", "no such figure: nothing is decided"


@pytest.mark.parametrize("rule, told", [
    ("a - > b", "must be SIDE > SIDE"), ("a - b - a > b", "a SIDE may be `a - b`"), ("a + b > a", "must be SIDE"),
    ("a -b > a", "must be SIDE"), ("a > b < a", "must be SIDE"), ("> a", "must be SIDE"), ("", "must be SIDE"),
    ("a - c > b", "names 'c' but the arms are a, b"), ("a > b - c.f", "names 'c' but the arms are a, b"),
])
def test_differences_that_are_none_are_refused(rule, told):
    with pytest.raises(ValueError, match=told):
        claim(rule)


def test_figures_beside_those_of_other_claims_are_kept_and_curves_are_not_figures():
    found = claim("a > b", also=("eer",), beside=("precision", "recall"), curves=("f", "distance"))
    assert found.keys == ["auc", "floor_auc", "eer", "precision", "recall"]
    assert found.curves == ("f", "distance") and claim("a > b").curves == claim("a > b").beside == ()


def test_an_arm_may_differ_by_seed():
    arm = Arm("verification/digits", "digits", {"steps": 3}, {"data.train_identities": ("0-4", "5-9")})
    assert arm.words(0) == ("--config.steps=3", "--config.data.train_identities=0-4", "--config.seed=0")
    assert arm.words(1)[1:] == ("--config.data.train_identities=5-9", "--config.seed=1")
    assert arm.words(2)[1] == arm.words(0)[1], "from the beginning again"
