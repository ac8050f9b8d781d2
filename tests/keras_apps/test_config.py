import json

import pytest
import tensorflow as tf

from keras_apps.build import ROOT
from keras_apps.config import base, changed, explain, flat, settle, to_json, unknown_key
from keras_apps.configs.verification.digits import get_config


def config(**words):
    made = base()
    made.app = "verification"
    made.update(words)
    return made


@pytest.mark.parametrize("words, match", [
    ({"steps": 0}, "`steps` is 0 but must be at least 1"),
    ({"ema": 1.0}, "`ema` is 1.0 but must lie in"),
    ({"clip": -1.0}, "must not be negative"),
    ({"app": ""}, "`app` is empty"),
    *(({"size": size}, "`size` is .* but must be pixels, one whole number or .height, width.*; use 64, or .256, 128.")
      for size in (0, -1, (64, 0), (64, -2), (1, 2, 3), (64,), "64", "(64, 32)", True, 64.0, None)),
])
def test_refusals(words, match):
    with pytest.raises(ValueError, match=match):
        settle(config(**words))


@pytest.mark.parametrize("size", [48, (64, 32), [64, 32]])
def test_a_size_is_one_number_or_two_and_is_stored_as_such(size):
    stored = json.loads(to_json(settle(config(size=size))))
    assert stored["size"] == (48 if size == 48 else [64, 32])
    read = base()
    read.update(stored)
    assert json.loads(to_json(settle(read))) == stored and changed(stored, json.loads(to_json(read))) == []
    assert changed(stored, json.loads(to_json(config(size=(32, 64))))) == ["size"]
    read.update({"size": 24})
    assert settle(read).size == 24


def test_a_settled_config_cannot_grow():
    settled = settle(config())
    with pytest.raises((KeyError, AttributeError)):
        settled.new_key = 1


def test_changed_keys_are_dotted():
    old, new = {"a": 1, "data": {"x": 1, "y": 2}}, {"a": 1, "data": {"x": 3, "y": 2}, "b": 0}
    assert changed(old, new) == changed(flat(old), flat(new)) == ["b", "data.x"]


def test_a_config_has_changed_where_a_key_has_another_value():
    old = flat(json.loads(json.dumps(get_config().to_dict())))
    assert old["data.sampler"] == "pk(images=8)" and changed(old, dict(old)) == []
    assert changed(old, {**old, "steps": 7, "data.mixing": ["x"]}) == ["data.mixing", "steps"]
    assert changed(old, {key: value for key, value in old.items() if key != "mirror"}) == ["mirror"]


def test_a_key_that_came_later_counts_unless_it_has_its_default():
    new = flat(json.loads(json.dumps(get_config().to_dict())))
    old = {key: value for key, value in new.items() if key not in ("clip", "mirror")}
    assert new["clip"] == base().clip
    assert changed(old, new) == ["mirror"], "not a key of `base`: nothing says what it was before"
    assert changed(old, {**new, "clip": 5.0}) == ["clip", "mirror"]


def test_an_unknown_key_of_an_apps_own_lists_those_of_its_file():
    path = ROOT / "keras_apps" / "configs" / "super_resolution" / "orl_x4.py"
    argv = ["prog", f"--config={path}", "--config.weights.pixl=3", "--config.judgd=(2,)"]
    assert "did you mean weights.pixel" in unknown_key("pixl", argv)
    assert "did you mean judged" in unknown_key("judgd", argv)
    assert "did you mean" in unknown_key("judgd", ["prog", "--config=nowhere.py", "--config.judgd=1"])


def test_an_unknown_key_lists_its_neighbours():
    assert unknown_key("bacth", ["prog", "--config.bacth=3"]).startswith(
        "`bacth` is not a key of this config; did you mean batch")
    assert "data.sampler" in unknown_key("samplr", ["prog", "--config.data.samplr=3"])


@pytest.mark.parametrize("error, told", [
    (AttributeError("'bacth' is not a field"), "`bacth` is not a key of this config; did you mean batch"),
    (AttributeError("'Loop' object has no attribute 'x'"), None),
    (ValueError("anything else"), None),
    (tf.errors.InvalidArgumentError(None, None, "ValueError: shard 3 is cut.\n\nTraceback"), "shard 3 is cut."),
    (tf.errors.InternalError(None, None, "out of luck"), None),
])
def test_errors_of_other_classes_are_explained(error, told):
    found = explain(error, ["prog", "--config=a.py", "--config.bacth=3"])
    assert found.startswith(told) if told else found is None


def test_a_config_file_that_cannot_be_loaded_is_named(tmp_path):
    def told(path):
        return explain(OSError("Failed loading config file config\n  Attempted\n    name 'bse' is not defined"),
                       ["prog", f"--config={path}"])
    (tmp_path / "mine.py").write_text("bse()")
    assert told("nope.py").startswith("`--config` is `nope.py` but there is no such file")
    assert told(tmp_path / "mine.py").endswith("/mine.py`, which fails: name 'bse' is not defined")


def looking(validation=0.0, **words):
    made = config(**words)
    made.data.validation = validation
    return made


@pytest.mark.parametrize("words, match", [
    ({"keep": 0}, "`keep` is 0 but must be at least 1"),
    ({"accumulate": 0}, "`accumulate` is 0 but must be at least 1"),
    ({"precision": "half"}, "`precision` is 'half' but must be one of float32, float16, bfloat16"),
    ({"validation": 1.0}, r"`data.validation` is 1.0 but must lie in \[0, 1\)"),
    ({"validation": -0.1}, "`data.validation` is -0.1"),
    ({"evaluate_every": -1}, "`evaluate_every`, `patience` and `min_delta` must not be negative"),
    ({"min_delta": -0.1}, "must not be negative; 0 switches them off"),
    ({"patience": -1}, "must not be negative; 0 switches them off"),
    ({"evaluate_every": 10}, "`evaluate_every` is 10 but `data.validation` is 0: there are no images to look at"),
    ({"best": "auc", "validation": 0.2}, "`best` is 'auc' and `patience` 0 but `evaluate_every` is 0"),
    ({"patience": 2}, "`best` is '' and `patience` 2 but `evaluate_every` is 0"),
    ({"evaluate_every": 10, "validation": 0.2, "patience": 2}, "`patience` is 2 but `best` is empty; name the metric"),
])
def test_refusals_of_the_engines_keys(words, match):
    with pytest.raises(ValueError, match=match):
        settle(looking(**words))


@pytest.mark.parametrize("words", [
    {"evaluate_every": 10, "validation": 0.2}, {"validation": 0.2}, {"precision": "bfloat16", "accumulate": 4},
    {"evaluate_every": 10, "validation": 0.2, "best": "-eer", "patience": 3, "min_delta": 0.01},
    {"rates": ("layers(path='network')",), "init": "build/other"},
])
def test_what_fits_together_is_taken(words):
    settled = settle(looking(**words))
    assert all((settled.data if name == "validation" else settled)[name] == value for name, value in words.items())
