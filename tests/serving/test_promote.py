"""Labels that are promoted and rolled back: the text of the config, the command, and a server that polls the file."""

import json
import os
import stat

import grpc
import pytest
from google.protobuf import text_format

from serving import client, config_text, promote
from serving.client import Client
from serving.config import config_message, read_config
from serving.server import Server
from tests.serving.fakes import Failing, serving
from tests.serving.toys import png, run_process, until
from tests.tfrecords.here import run_here

PLAIN = """# served by two machines
model_config_list {
  config {
    name: "other" base_path: "/none/other" model_platform: "tensorflow"
    version_labels { key: "stable" value: 9 }  # not ours
  }
  config {
    name: "m"
    base_path: "/none/m"  # a bucket
    model_platform: "tensorflow"
    model_version_policy { all {} }
    version_labels { key: "stable" value: 2 }  # checked by hand
    version_labels {
      key: "canary"
      value: 3
    }
  }
}
"""


# ---- Text ----


def labels(text, model="m"):
    (found,) = [config for config in config_message(text).model_config_list.config if config.name == model]
    return dict(found.version_labels)


def test_only_the_number_changes():
    assert config_text.with_label(PLAIN, "m", "stable", 3) == PLAIN.replace(
        '"stable" value: 2 }  # checked', '"stable" value: 3 }  # checked'
    )
    assert config_text.with_label(PLAIN, "m", "canary", 12345) == PLAIN.replace("value: 3\n", "value: 12345\n")
    assert config_text.with_label(PLAIN, "m", "stable", 2) == PLAIN
    later = PLAIN + "# version_labels {"
    assert config_text.with_label(later, "m", "stable", 2) == later


def test_a_new_label_has_a_line_of_its_own_and_goes_again():
    added = config_text.with_label(PLAIN, "m", 'odd "ä"', 3)
    line = '    version_labels { key: "odd \\"ä\\"" value: 3 }\n'
    assert added == PLAIN.replace("    }\n  }\n}\n", f"    }}\n{line}  }}\n}}\n")
    assert labels(added) == {"stable": 2, "canary": 3, 'odd "ä"': 3}
    assert config_text.with_label(added, "m", 'odd "ä"', None) == PLAIN
    gone = config_text.with_label(PLAIN, "m", "canary", None)
    assert gone == PLAIN.replace('    version_labels {\n      key: "canary"\n      value: 3\n    }\n', "")
    assert labels(config_text.with_label(PLAIN, "m", "never there", None)) == labels(PLAIN)


@pytest.mark.parametrize("text", [
    'model_config_list { config { name: "m" base_path: "/m" } }',
    'model_config_list: { config: { name: "m", base_path: "/m"; } }',
    'model_config_list < config < name: "m" base_path: "/m" > >',
    "model_config_list { config: [ { name: 'x' }, { name: 'm' version_labels: [ { key: 'stable' value: 1 } ] } ] }",
    'model_config_list { config { name: "m" version_labels: { value: 1, key: "stable" } # }\n } }',
    'model_config_list { config { name: "x}" } config { name: "m" version_labels { key: "stable" } } }',
    'model_config_list { config { name: "m" version_labels { key: "sta" "ble" value: 1 } } }',
    'model_config_list{config{name:"m"version_labels{key:"a"value:1}version_labels{key:"\\163table"value:1}}}',
])  # fmt: skip
def test_any_layout_gives_the_same_message(text):
    wanted = config_message(text)
    (model,) = [config for config in wanted.model_config_list.config if config.name == "m"]
    for version in (7, None):
        if version is None:
            model.version_labels.pop("stable", None)
        else:
            model.version_labels["stable"] = version
        changed = config_text.with_label(text, "m", "stable", version)
        assert config_message(changed) == wanted, changed
    with pytest.raises(ValueError, match="`model` is y but the model config lists (x, )?(x}, )?m; correct the name."):
        config_text.with_label(text, "y", "stable", 1)


# ---- Command ----


@pytest.fixture()
def config(tmp_path):
    """Model m with versions 1 to 3, all of them served."""
    for version in (1, 2, 3):
        (tmp_path / "m" / str(version)).mkdir(parents=True)
    (tmp_path / "m" / "notes").mkdir()
    file = tmp_path / "models.config"
    file.write_text(PLAIN.replace("/none/m", str(tmp_path / "m")))
    return file


@pytest.fixture()
def run(config, capsys):
    return lambda *words: run_here(promote, capsys, f"--model_config_file={config}", "--model=m", *words)


def stable(config):
    return labels(config.read_text()).get("stable")


def test_to_a_version_and_back_and_further_back(run, config):
    before = config.read_text()
    os.chmod(config, 0o640)
    assert run("--label=stable", "--version=3") == (0, "m stable: version 2 -> version 3\n", "")
    assert config.read_text() == before.replace('"stable" value: 2', '"stable" value: 3')
    assert stat.S_IMODE(config.stat().st_mode) == 0o640
    assert run("--label=stable", "--version=3") == (0, "m stable: is at version 3 already\n", "")
    assert run("--label=stable", "--version=1")[0] == 0 and stable(config) == 1
    assert run("--label=stable", "--back") == (0, "m stable: version 1 -> version 3\n", "")
    assert run("--label=stable", "--back") == (0, "m stable: version 3 -> version 2\n", "")
    assert config.read_text() == before
    code, out, error = run("--label=stable", "--back")
    assert (code, out) == (1, "") and error == (
        "error: `--back` finds nothing to go back to: label stable of model m is at version 2, which this command did "
        "not set; give --version=NUMBER.\n"
    )
    assert sorted(path.name for path in config.parent.iterdir()) == ["m", "models.config", "models.config.labels.json"]


def test_a_new_label_comes_and_goes(run, config):
    before = config.read_text()
    assert run("--label=new", "--version=1") == (0, "m new: a new label -> version 1\n", "")
    assert labels(config.read_text())["new"] == 1 and stable(config) == 2
    assert run("--label=new", "--back") == (0, "m new: version 1 -> no version\n", "")
    assert config.read_text() == before
    assert run("--label=new", "--back")[2].startswith("error: `--back` finds nothing to go back to: label new of model")


def test_what_somebody_else_changed_is_not_undone(run, config):
    run("--label=stable", "--version=3")
    config.write_text(config.read_text().replace('"stable" value: 3', '"stable" value: 1'))
    code, out, error = run("--label=stable", "--back")
    assert code == 1 and "is at version 1, which this command did not set" in error and stable(config) == 1
    config.write_text(config.read_text().replace('"stable" value: 1', '"stable" value: 3') + "# later\n")
    assert run("--label=stable", "--back")[0] == 0 and stable(config) == 2
    assert config.read_text().endswith("# later\n"), "the file is not an old one"


def test_a_change_that_was_noted_but_not_written_is_passed_over(run, config, monkeypatch):
    run("--label=stable", "--version=3")
    write = promote._write
    monkeypatch.setattr(promote, "_write", lambda path, text: (_ for _ in ()).throw(OSError("disk full")))
    assert run("--label=stable", "--version=1") == (1, "", "error: disk full\n") and stable(config) == 3
    monkeypatch.setattr(promote, "_write", write)
    assert run("--label=stable", "--back") == (0, "m stable: version 3 -> version 2\n", "")


def test_a_history_that_cannot_be_read_only_ends_going_back(run, config):
    (config.parent / "models.config.labels.json").write_text("{")
    assert run("--label=stable", "--back")[0] == 1
    assert run("--label=stable", "--version=3")[0] == 0 and run("--label=stable", "--back")[0] == 0
    kept = json.loads((config.parent / "models.config.labels.json").read_text())
    assert kept == {"m": {"stable": []}}


def test_a_link_to_the_file_stays_one(run, config, tmp_path):
    real = tmp_path / "real.config"
    config.rename(real)
    config.symlink_to(real)
    assert run("--label=stable", "--version=3")[0] == 0
    assert config.is_symlink() and stable(real) == 3


@pytest.mark.parametrize("words, told", [
    (["--label=stable"], "neither `--version` nor `--back` is given but exactly one of them says where the label"),
    (["--label=stable", "--version=1", "--back"], "`--version` is 1 and `--back` is given but exactly one of them"),
    (["--version=1"], "`--label` is missing; give --label=VALUE."),
    (["--label=stable", "--version=-1"], "`--version` is `-1` but must be a non-negative integer."),
    (["--label=stable", "--version=8"], "The label cannot name version 8: {folder}/m holds 1, 2, 3; give one of them."),
    (["--label=stable", "--version=1", "--model=n"], "`--model` is n but {folder}/models.config lists other, m;"),
    (["--label=stable", "--version=1", "--model_config_file={folder}/no"], "`--model_config_file` is {folder}/no but"),
    (["--label=stable", "--version=1", "--model_config_file={folder}/bad"], "{folder}/bad: Error parsing text-format"),
    (["--label=stable", "--version=1", "--model_config_file={folder}/latest"],
     "The label cannot name version 1: model m serves its newest 2 of 1, 2, 3; change its model_version_policy and"),
    (["--label=stable", "--version=1", "--model_config_file={folder}/some"],
     "The label cannot name version 1: model m serves specific 2, 3 of 1, 2, 3; change its model_version_policy"),
    (["--label=stable", "--version=1", "--model_config_file={folder}/remote"],
     "The label cannot name version 1: model m serves specific 2, 3; list it in model_version_policy first."),
])  # fmt: skip
def test_errors_are_one_sentence_and_change_nothing(run, config, words, told):
    folder, text = config.parent, config.read_text()
    (folder / "bad").write_text("model_config_list {")
    (folder / "latest").write_text(text.replace("all {}", "latest { num_versions: 2 }"))
    some = text.replace("all {}", "specific { versions: 2 versions: 3 }")
    (folder / "some").write_text(some)
    (folder / "remote").write_text(some.replace(f'"{folder}/m"', '"gs://models/m"'))
    before = {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}
    code, out, error = run(*(word.format(folder=folder) for word in words))
    assert (code, out, error.count("\n")) == (1, "", 1) and error.startswith(f"error: {told.format(folder=folder)}")
    assert {path.name: path.read_text() for path in folder.iterdir() if path.is_file()} == before


def test_what_is_not_on_this_machine_is_not_checked(run, config, capsys):
    config.write_text(config.read_text().replace(f'"{config.parent}/m"', '"/models/m"'))
    code, out, error = run("--label=stable", "--version=8")
    assert (code, out) == (0, "m stable: version 2 -> version 8\n") and stable(config) == 8
    assert error == "/models/m is no folder here, so it was not checked for version 8\n"


# ---- Servers ----


def test_a_server_is_asked_before_and_told_after(run, config):
    fake = Failing()
    with serving(fake) as address:
        code, out, error = run("--label=stable", "--version=3", f"--server={address}")
        assert (code, out) == (1, "") and stable(config) == 2
        assert error == ("error: The label cannot name version 3: it is unknown on the server; wait until it is "
                         "AVAILABLE or give another.\n")  # fmt: skip
        (config.parent / "m" / "7").mkdir()  # the version that the server has
        assert run("--label=stable", "--version=7", f"--server={address}")[0] == 0
        (told,) = fake.reloaded
        assert told == config_message(config.read_text()) and stable(config) == 7
        before = config.read_text()
        fake.failures = [None, (grpc.StatusCode.FAILED_PRECONDITION, "not now")]
        code, out, error = run("--label=new", "--version=7", f"--server={address}")
        assert code == 1 and "FAILED_PRECONDITION: not now" in error
        assert config.read_text() == before, "file and server agree"


def test_servers_follow_the_file_or_are_told(served, tmp_path, capsys):
    """Versions 1 and 2 of one model, labelled, asked by label: promoted and back by the file, then by a call."""
    file = tmp_path / "models.config"
    file.write_text(
        f'model_config_list {{ config {{ name: "toy" base_path: "{served.models}/toy" model_platform: "tensorflow"\n'
        "  model_version_policy { all {} }\n"
        '  version_labels { key: "stable" value: 1 }\n} }\n'
    )

    own = (f"--model_config_file={file}", "--model=toy", "--label=stable")

    def asked(words, address, expected):
        code, _, error = run_here(promote, capsys, *own, *words)
        assert code == 0, error
        with Client(address, "toy", label="stable") as labelled:
            return until(lambda: labelled.predict("serving_default", {"x": [0.0]})["y"].tolist() == [expected])

    for poll in (0.05, 0.0):
        with Server(read_config(file), port=0, config_file=str(file), config_poll_seconds=poll) as running:
            told = [] if poll else [f"--server={running.address}"]
            assert asked(["--version=2", *told], running.address, 3.0)
            assert asked(["--back", *told], running.address, 2.0)
            with Client(running.address, "toy", label="stable") as labelled:
                assert labelled.served_version() == 1 and labelled.embed(png(9, 9, 9)).shape == (1, 3)
                with pytest.raises(client.ServingError):
                    labelled.reload(text_format.MessageToString(config_message(file.read_text())).replace("1", "5"))
                assert labelled.served_version() == 1


@pytest.mark.slow
def test_as_a_process(config):
    words = (f"--model_config_file={config}", "--model=m", "--label=stable")
    assert run_process("serving.promote", *words, "--version=3") == (0, "m stable: version 2 -> version 3\n", "")
    code, out, error = run_process("serving.promote", *words)
    assert (code, out, error.count("\n")) == (1, "", 1) and error.startswith("error: neither `--version` nor `--back`")
