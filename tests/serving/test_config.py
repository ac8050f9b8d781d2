"""TF Serving's model config: what is taken from it and what is refused."""

import pytest

from serving import config
from serving.status import Code, StatusError

FORM = 'model_config_list {{ config {{ name: "a" base_path: "/a" model_platform: "tensorflow" {} }} }}'


@pytest.mark.parametrize(
    "text, message",
    [
        (
            'config { name: "a" base_path: "rel/a" model_platform: "tensorflow" }',
            "to have an absolute path or URI",
        ),
        ('config { name: "a" base_path: "/a" }', "Illegal setting neither"),
        (
            'config { name: "a" base_path: "/a" model_type: TENSORFLOW model_platform: "tensorflow" }',
            "setting both",
        ),
        ('config { name: "a" base_path: "/a" model_platform: "caffe" }', 'must be "tensorflow"'),
        ('config { base_path: "/a" model_platform: "tensorflow" }', "`name` of a model is empty"),
        ("", "lists no model"),
    ],
)
def test_config_errors(text, message):
    with pytest.raises(ValueError, match=message):
        config.parse_config(f"model_config_list {{ {text} }}")


def test_policies():
    found = {1: "", 5: "", 9: ""}
    for text, expected in (
        ("", [9]),
        ("model_version_policy { latest { num_versions: 2 } }", [9, 5]),
        ("model_version_policy { all { } }", [9, 5, 1]),
        ("model_version_policy { specific { versions: [5, 6] } }", [5]),
    ):
        assert config.parse_config(FORM.format(text))[0].choose(found) == expected


def test_labels():
    text = 'version_labels { key: "stable" value: 3 } version_labels { key: "canary" value: 4 }'
    (model,) = config.parse_config(FORM.format(text))
    assert (model.name, model.base_path, model.labels) == ("a", "/a", {"stable": 3, "canary": 4})


def test_another_kind_of_config():
    with pytest.raises(ValueError, match="Only ModelConfigList"):
        config.parse_config("custom_model_config { }")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"base_path": "rel"}, "absolute path or URI"),
        ({"policy": "newest"}, "`policy` of model a is 'newest' but must be latest, all or specific"),
        ({"latest": 0}, "`latest` of model a is 0 but must be at least 1"),
        ({"policy": "specific"}, "policy specific must name at least one"),
    ],
)
def test_models_that_cannot_be_served(arguments, message):
    with pytest.raises(ValueError, match=message):
        config.ModelConfig("a", **{"base_path": "/a", **arguments})


def test_uri_is_a_base_path():
    assert config.ModelConfig("a", "gs://bucket/a").base_path == "gs://bucket/a"


def test_file(tmp_path, monkeypatch):
    file = tmp_path / "models.config"
    file.write_text(FORM.format(""))
    assert [model.name for model in config.read_config(file)] == ["a"]
    file.write_text("model_config_list { config {\n name: 3 } }")
    with pytest.raises(ValueError, match="models.config: Error parsing text-format") as caught:
        config.read_config(file)
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(config, "CONFIG_BYTES", 10)
    with pytest.raises(ValueError, match="models.config` is larger than 10 bytes"):
        config.read_config(file)
    with pytest.raises(OSError, match="absent"):
        config.read_config(tmp_path / "absent")


LOGGING = """logging_config {{
  log_collector_config {{ type: "{}" filename_prefix: "{}" }} sampling_config {{ sampling_rate: {} }}
}}"""


def test_logging():
    (model,) = config.parse_config(FORM.format(LOGGING.format("tfrecord", "/logs/asked", 0.25)))
    assert model.logging == config.Logging("/logs/asked", 0.25)
    assert config.parse_config(FORM.format(""))[0].logging is None


@pytest.mark.parametrize("kind", ["", "kafka"])
def test_a_log_of_another_type_is_not_found(kind):
    with pytest.raises(StatusError) as caught:
        config.parse_config(FORM.format(LOGGING.format(kind, "/logs/asked", 0.25)))
    assert caught.value.code == Code.NOT_FOUND
    assert caught.value.message == f"Cannot find LogCollector::Factory for type: {kind}"


@pytest.mark.parametrize(
    "prefix, rate, message",
    [
        ("logs/asked", 0.5, "Model a: `filename_prefix` of a log is 'logs/asked' but must be an absolute path"),
        ("/logs/", 0.5, "must be an absolute path that ends in the beginning of a file name"),
        ("/logs/asked", 1.5, "Model a: `sampling_rate` of a log is 1.5 but must lie in"),
        ("/logs/asked", "nan", "`sampling_rate` of a log is nan"),
    ],
)
def test_a_log_that_cannot_be(prefix, rate, message):
    with pytest.raises(ValueError, match=message):
        config.parse_config(FORM.format(LOGGING.format("tfrecord", prefix, rate)))
