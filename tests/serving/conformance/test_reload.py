"""HandleReloadConfigRequest and versions that cannot be loaded: items 28 to 35."""

import os
import shutil

import grpc
import pytest
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2, model_pb2

from serving import server
from serving.config import ModelConfig
from serving.server import Server
from serving.status import StatusError
from tests.serving.conformance.models import Toy, config, entries, entry
from tests.serving.toys import run_process, until
from tests.serving.wire import FP, IA, NF, X, appear, broken, refused, request, states, stub_of
from tests.tfrecords.here import run_here

UNKNOWN = grpc.StatusCode.UNKNOWN


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A version with y = x / 2 + 10."""
    path = tmp_path_factory.mktemp("saved") / "1"
    Toy(10.0).save(path, "serving_default")
    return path


@pytest.fixture
def added(folders, saved):
    """added(name, number): a version in a new model folder; gone after the test."""
    made = []

    def add(name, number=1):
        (folders / name).mkdir(exist_ok=True)
        made.append(folders / name)
        appear(folders / name, number, lambda path: shutil.copytree(saved, path))
        return folders / name

    yield add
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)


def answer(stub, model, **words):
    return list(stub.Predict(request({"x": X}, model=model, **words), timeout=20).outputs["y"].float_val)


def refused_reload(reload, *arguments, **words):
    with pytest.raises(grpc.RpcError) as caught:
        reload(*arguments, **words)
    return caught.value.code(), caught.value.details()


# ---- Reload ----


def test_28_new_models_are_available_and_removed_ones_may_come_back(reload, added, target, stub):
    added("came")
    response = reload(came=entry("came", f"{target.base}/came"))
    assert (response.status.error_code, response.status.error_message) == (0, "")
    assert answer(stub, "came") == [11.0, 12.5]
    reload()
    code, text = refused(stub.Predict, request({"x": X}, model="came"))
    assert code == NF and "Servable not found for request: Latest(came)" in text
    assert answer(stub, "half") == [3.0, 4.5]
    reload(came=entry("came", f"{target.base}/came"))
    assert answer(stub, "came") == [11.0, 12.5]


def test_28_base_path_may_change(reload, added, target, stub):
    added("elsewhere", 5)
    reload(moving=entry("moving", f"{target.base}/elsewhere"))
    assert answer(stub, "moving", version=5) == [11.0, 12.5]
    reload()
    assert answer(stub, "moving") == [2.0, 3.5]


def test_29_only_lists_of_models(raw_reload):
    code, text = refused_reload(raw_reload, "custom_model_config { }")
    assert code == IA and "Only ModelConfigList is currently supported" in text


def test_30_a_name_is_listed_once(raw_reload, target, stub):
    found = [*entries(target.base).values(), entry("half", f"{target.base}/half")]
    code, text = refused_reload(raw_reload, config(found))
    assert code == IA and "Illegal to list model half multiple times in config list" in text
    assert answer(stub, "half") == [3.0, 4.5]


def test_31_relative_base_path(reload):
    code, text = refused_reload(reload, half=entry("half", "models/half"))
    assert code == IA and "to have an absolute path or URI" in text


def test_32_missing_base_path_is_told_and_waited_for(reload, target, stub):
    missing = entry("missing", f"{target.base}/missing")
    code, text = refused_reload(reload, missing=missing, timeout=1.0)
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    if target.own:  # before the deadline, so that its text says why; TF Serving waits
        assert "missing" in text
        assert f"Could not find base path {target.base}/missing for servable missing" in target.log.read_text()
    assert answer(stub, "half") == [3.0, 4.5]


def test_33_platform(reload, target):
    path = f"{target.base}/half"
    code, text = refused_reload(reload, half=entry("half", path, platform=""))
    assert code == IA and "Illegal setting neither" in text
    both = 'model_platform: "tensorflow" model_type: TENSORFLOW'
    code, text = refused_reload(reload, half=entry("half", path, platform=both))
    assert code == IA and "Illegal setting both" in text
    code, text = refused_reload(reload, half=entry("half", path, platform='model_platform: "another"'))
    assert code == IA and "Illegal to change a model's platform" in text


def labelled(base, **labels):
    given = " ".join(f'version_labels {{ key: "{label}" value: {number} }}' for label, number in labels.items())
    return entry("toy", f"{base}/toy", f"model_version_policy {{ all {{ }} }} {given}")


def test_34_labels_of_versions_that_are_not_available(reload, target, stub):
    for labels in ({"stable": 1, "canary": 9}, {"stable": 9}):
        code, text = refused_reload(reload, toy=labelled(target.base, **labels))
        assert code == FP and "not currently available for inference" in text
        assert answer(stub, "toy", label="stable") == [3.0, 4.5]
    reload(toy=labelled(target.base, stable=2, canary=2))
    assert answer(stub, "toy", label="stable") == answer(stub, "toy", label="canary") == [4.0, 5.5]
    reload(toy=labelled(target.base, stable=1))
    assert answer(stub, "toy", label="stable") == [3.0, 4.5]
    assert refused(stub.Predict, request({"x": X}, label="canary"))[0] == IA


def test_34_new_labels_may_be_early_where_that_is_allowed(own, target, tmp_path):
    models = [ModelConfig("toy", str(target.models / "toy"), "all", labels={"stable": 1})]
    with Server(models, port=0, allow_labels=True) as running, stub_of(running) as stub:
        manager = running._manager
        manager.reload([ModelConfig("toy", str(target.models / "toy"), "all", labels={"stable": 1, "later": 77})])
        code, text = refused(stub.Predict, request({"x": X}, label="later"))
        assert code == NF and "Specific(toy, 77)" in text
        with pytest.raises(StatusError, match="not currently available for inference") as caught:
            manager.reload([ModelConfig("toy", str(target.models / "toy"), "all", labels={"stable": 77})])
        assert caught.value.code == FP


# ---- Versions that cannot be loaded ----


def test_35_load_error_ends_a_reload_and_shows_in_the_status(reload, folders, target, models):
    (folders / "bad").mkdir()
    appear(folders / "bad", 4, broken)
    try:
        code, text = refused_reload(reload, bad=entry("bad", f"{target.base}/bad"))
        assert code == UNKNOWN and "1 servable(s) did not become available" in text
        status = states(models, "bad", 4)[4]
        assert status.state == get_model_status_pb2.ModelVersionStatus.END and status.status.error_code
    finally:
        shutil.rmtree(folders / "bad")


def damaged_pb(path):
    (path / "saved_model.pb").write_bytes((path / "saved_model.pb").read_bytes()[:1000])


def damaged_values(path):
    (file,) = (path / "variables").glob("variables.data-*")
    first, *others = file.read_bytes()
    file.write_bytes(bytes([first ^ 255, *others]))


def missing_values(path):
    shutil.rmtree(path / "variables")


DAMAGED = [
    (damaged_pb, "Can't parse {0}/saved_model.pb as binary proto"),
    (damaged_values, "TensorBundle at {0}/variables/variables shard 0 (4 bytes): Checksum does not match: "),
    (
        missing_values,
        "Unsuccessful TensorSliceReader constructor: Failed to find any matching files for "
        "{0}/variables/variables}}",
    ),
]


def is_one_line_about(path, reason, code, out, error):
    assert (code, out, error.count("\n")) == (1, "", 1), error
    begin = f"error: 1 servable(s) did not become available: {{m version 7: {reason.format(path)}"
    assert error.startswith(begin) and error.endswith(f"}}; export again what is in {path} or remove it.\n")


@pytest.fixture
def whole(own, saved, tmp_path):
    shutil.copytree(saved, tmp_path / "m" / "7")
    return tmp_path / "m" / "7"


@pytest.mark.parametrize("damage, reason", DAMAGED)
def test_35_damaged_version_at_start_up_is_one_line(whole, capsys, caplog, monkeypatch, damage, reason):
    # What belongs to the tests' own process stays as it is.
    monkeypatch.setattr(server.signal, "signal", lambda *_: None)
    for kind in ("intra", "inter"):
        monkeypatch.setattr(server.tf.config.threading, f"set_{kind}_op_parallelism_threads", lambda _: None)
    damage(whole)
    arguments = ("--port=0", "--max_num_load_retries=0", "--model_name=m", f"--model_base_path={whole.parent}")
    is_one_line_about(whole, reason, *run_here(server, capsys, *arguments))
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


@pytest.mark.slow
def test_35_as_a_process(whole):
    damaged_values(whole)
    arguments = ("--port=0", "--max_num_load_retries=0", "--model_name=m", f"--model_base_path={whole.parent}")
    is_one_line_about(whole, DAMAGED[1][1], *run_process("serving.server", *arguments))


@pytest.mark.parametrize("damage, reason", DAMAGED)
def test_35_damaged_later_version_is_one_line_of_the_log(whole, caplog, damage, reason):
    later = whole.parent / "8"
    models = [ModelConfig("m", str(whole.parent))]
    with caplog.at_level("WARNING"), server.Server(models, port=0, poll_seconds=0.05, load_retries=0):
        hidden = whole.parent / ".8"
        shutil.copytree(whole, hidden)
        damage(hidden)
        hidden.rename(later)
        assert until(lambda: caplog.records)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"Model m version 8 in {later} cannot be loaded: ") and "\n" not in said
    assert reason.rstrip("}").format(later) in said and said.endswith(" (given up)")


def test_35_broken_versions_leave_the_old_one_serving(added, reload, target, stub, models):
    folder = added("steady")
    reload(steady=entry("steady", f"{target.base}/steady"))
    for number, build, code, text in (
        (2, broken, 15, "Can't parse"),
        (3, lambda path: os.mkdir(path), 5, "Could not find saved_model.pb"),
    ):
        appear(folder, number, build)
        assert until(lambda number=number: states(models, "steady").get(number, model_status()).state == 50)
        if target.own:
            status = states(models, "steady", number)[number].status
            assert status.error_code == code and text in status.error_message
        assert stub.Predict(request({"x": X}, model="steady")).model_spec.version.value == 1
    assert states(models, "steady")[1].state == 30


def model_status():
    """Of a version that is not seen yet."""
    return get_model_status_pb2.ModelVersionStatus()


def test_35_version_that_cannot_be_loaded_at_start_up(own, tmp_path):
    (tmp_path / "m").mkdir()
    broken(tmp_path / "m" / "4")
    running = Server([ModelConfig("m", str(tmp_path / "m"))], port=0, load_retries=0)
    with pytest.raises(StatusError, match=r"1 servable\(s\) did not become available: {m version 4: Can't") as caught:
        running.start()
    assert caught.value.code == UNKNOWN


def test_28_without_a_config_nothing_changes(models, stub):
    response = models.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest(), timeout=20)
    assert response.status.error_code == 0
    spec = model_pb2.ModelSpec(name="half")
    assert models.GetModelStatus(get_model_status_pb2.GetModelStatusRequest(model_spec=spec)).model_version_status
    assert answer(stub, "half") == [3.0, 4.5]
