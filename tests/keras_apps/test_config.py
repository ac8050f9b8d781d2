import pytest
import tensorflow as tf

from keras_apps.config import base, differences, explain, settle, unknown_key


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
    ({"init": "build/other"}, "`init` is 'build/other' but starting from another run is not finished"),
])
def test_refusals(words, match):
    with pytest.raises(ValueError, match=match):
        settle(config(**words))


def test_a_settled_config_cannot_grow():
    settled = settle(config())
    with pytest.raises((KeyError, AttributeError)):
        settled.new_key = 1


def test_differences_are_dotted_keys():
    old, new = {"a": 1, "data": {"x": 1, "y": 2}}, {"a": 1, "data": {"x": 3, "y": 2}, "b": 0}
    assert differences(old, new) == ["b", "data.x"]


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
