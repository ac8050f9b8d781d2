"""Versions over time, as a server in this process answers while its folders change."""

import concurrent.futures
import contextlib
import os
import pathlib
import shutil
import socket
import threading
import time
import types

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from serving import models as models_of_server
from serving.config import ModelConfig
from serving.models import Manager
from serving.server import Server
from serving.status import Code, StatusError
from tests.serving.toys import Toy, until
from tests.serving.wire import FP, NF, State, X, appear, broken, refused, request, states


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """moving and steady, each with version 1."""
    folder = tmp_path_factory.mktemp("models")
    Toy(1.0).save(folder / "moving" / "1", "serving_default", "slow")
    Toy(1.0).save(folder / "steady" / "1", "serving_default")
    return folder


@pytest.fixture(scope="module")
def channel(folder):
    configs = [ModelConfig(name, str(folder / name)) for name in ("moving", "steady")]
    with Server(configs, port=0, poll_seconds=0.05, load_retries=0) as running:
        with grpc.insecure_channel(running.address) as channel:
            yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def models(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


def test_new_version_is_picked_up_and_requests_under_way_finish(folder, stub, models, tmp_path):
    folder = folder / "moving"
    for name in ("tmp", "v7", "-3", "1.5", "99999999999999999999999"):  # no versions
        (folder / name).mkdir()
    (folder / "12").write_text("a file, no folder")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        go = tmp_path / "go"
        slow = pool.submit(stub.Predict, request({"file": str(go)}, model="moving", signature="slow"))
        try:
            assert until((tmp_path / "go.begun").exists)
            appear(folder, "0000007", lambda path: Toy(70.0).save(path, "serving_default", "slow"))
            assert until(
                lambda: states(models, "moving").get(7) is not None and states(models, "moving")[7].state == 30
            )
            fast = stub.Predict(request({"x": X}, model="moving"))
            assert fast.model_spec.version.value == 7 and fast.outputs["y"].float_val == [71.0, 72.5]
            assert until(lambda: states(models, "moving")[1].state == 40)
            assert not slow.done()
        finally:
            go.touch()  # else a failure would wait for the answer for ever
        response = slow.result(timeout=60)
    assert response.model_spec.version.value == 1 and response.outputs["offset"].float_val == [1.0]
    assert until(lambda: states(models, "moving")[1].state == 50)
    assert list(states(models, "moving")) == [7, 1]
    assert refused(stub.Predict, request({"x": X}, model="moving", version=1))[0] == NF


def bad_warmup(path):
    Toy(9.0).save(path, "serving_default")
    (path / "assets.extra").mkdir()
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(request({"wrong": X}, model="steady"))
    with tf.io.TFRecordWriter(str(path / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())


def test_broken_versions_leave_the_old_one_serving(folder, stub, models):
    folder = folder / "steady"
    expected = {
        2: (broken, 15, "Can't parse"),
        3: (lambda path: path.mkdir(), 5, "Could not find saved_model.pb"),
        4: (bad_warmup, 3, "Warm-up request 1 failed: input tensor alias not found"),
    }
    for number, (build, code, text) in expected.items():
        appear(folder, number, build)
        assert until(
            lambda number=number: (
                number in states(models, "steady") and states(models, "steady")[number].state == 50
            )
        )
        status = states(models, "steady", number)[number].status
        assert status.error_code == code and text in status.error_message
        assert stub.Predict(request({"x": X}, model="steady")).model_spec.version.value == 1
    assert states(models, "steady")[1].state == 30
    # The folder of the only loaded version going away, and then all of them, changes nothing.
    for number in (1, 2, 3, 4):
        shutil.rmtree(folder / str(number))
    time.sleep(0.3)
    assert stub.Predict(request({"x": X}, model="steady")).outputs["y"].float_val == [2.0, 3.5]
    # A number that failed may come back whole.
    appear(folder, 2, lambda path: Toy(20.0).save(path, "serving_default"))
    assert until(lambda: states(models, "steady")[2].state == 30)
    appear(folder, 5, lambda path: Toy(50.0).save(path, "serving_default"))
    assert until(
        lambda: states(models, "steady").get(5) is not None and states(models, "steady")[5].state == 30
    )
    assert until(lambda: states(models, "steady")[1].state == 50)
    assert stub.Predict(request({"x": X}, model="steady")).outputs["y"].float_val == [51.0, 52.5]


def test_retries_show_their_reason_until_the_version_is_repaired(tmp_path):
    Toy(1.0).save(tmp_path / "a" / "1", "serving_default")
    models = [ModelConfig("a", str(tmp_path / "a")), ModelConfig("b", str(tmp_path / "b"))]
    with Server(
        models, port=0, poll_seconds=0.05, load_retries=50, retry_seconds=0.2, tensor_content=True
    ) as running:
        (tmp_path / "b").mkdir()
        broken(tmp_path / "b" / "1")
        with grpc.insecure_channel(running.address) as channel:
            stub = model_service_pb2_grpc.ModelServiceStub(channel)
            assert until(lambda: State.LOADING in [s.state for s in _statuses(stub, "b")])
            assert until(lambda: "Can't parse" in _statuses(stub, "b")[0].status.error_message)
            shutil.rmtree(tmp_path / "b" / "1")  # repaired before the retries are used up
            Toy(8.0).save(tmp_path / "hidden", "serving_default")
            os.rename(tmp_path / "hidden", tmp_path / "b" / "1")
            assert until(lambda: State.AVAILABLE in [s.state for s in _statuses(stub, "b")])
            predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
            output = predict(request({"x": X}, model="b")).outputs["y"]
        assert output.tensor_content and not output.float_val
        np.testing.assert_array_equal(tf.make_ndarray(output), np.array([9.0, 10.5], np.float32))
        address = running.address
    with pytest.raises(OSError), socket.create_connection(address.split(":"), timeout=2):
        pass


def _statuses(stub, model):
    message = get_model_status_pb2.GetModelStatusRequest(model_spec=model_pb2.ModelSpec(name=model))
    try:
        return stub.GetModelStatus(message, timeout=5).model_version_status
    except grpc.RpcError:
        return []


def test_a_name_is_listed_once():
    model = ModelConfig("a", "/a")
    with pytest.raises(ValueError, match="Illegal to list model a multiple times"):
        Manager([model, model])


@pytest.mark.parametrize(
    "arguments, flag",
    [
        ({"poll_seconds": -1}, "file_system_poll_wait_seconds"),
        ({"load_retries": -1}, "max_num_load_retries"),
        ({"retry_seconds": float("nan")}, "load_retry_interval_micros"),
    ],
)
def test_times_and_counts_are_not_negative(arguments, flag):
    with pytest.raises(ValueError, match=f"`{flag}` is .* but must not be negative"):
        Manager([ModelConfig("a", "/a")], **arguments)

# ---- Reload ----


@pytest.fixture(scope="module")
def offsets(tmp_path_factory):
    """offsets(number): a saved version with y = x / 2 + number."""
    folder, saved = tmp_path_factory.mktemp("offsets"), {}

    def of(number):
        if number not in saved:
            saved[number] = folder / str(number)
            Toy(number).save(saved[number], "serving_default")
        return saved[number]

    return of


@pytest.fixture
def put(tmp_path, offsets):
    """put("a/2", 20): version 2 of model folder a, with that offset."""

    def at(place, offset):
        folder, name = tmp_path / os.path.dirname(place), os.path.basename(place)
        folder.mkdir(parents=True, exist_ok=True)
        appear(folder, name, lambda path: shutil.copytree(offsets(offset), path))
        return str(folder)

    return at


@contextlib.contextmanager
def managing(*models, **words):
    manager = Manager(models, **{"poll_seconds": 0.02, "load_retries": 0, **words})
    manager.start()
    manager.wait_until_settled()
    try:
        yield manager
    finally:
        manager.stop()


def offset(manager, model, **words):
    message = request({"x": [0.0]}, model=model, **words)
    with manager.lease(message.model_spec) as (_, servable):
        return servable.predict(message).outputs["y"].float_val[0]


@contextlib.contextmanager
def asked_all_the_time(manager, *asks):
    """Threads that ask; the answers they got, each once and in the order of their coming, and every error."""
    stopping, answers, begun = threading.Event(), [[] for _ in asks], threading.Semaphore(0)

    def ask(place):
        while not stopping.is_set():
            try:
                answer = offset(manager, *asks[place][:1], **asks[place][1])
            except Exception as error:  # noqa: BLE001 - the test tells of it
                answer = error
            if answer not in answers[place][-1:]:
                answers[place].append(answer)
            begun.release()

    threads = [threading.Thread(target=ask, args=[place], daemon=True) for place in range(len(asks))]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10 * len(asks)):
            assert begun.acquire(timeout=20)
        yield answers
        while begun.acquire(blocking=False):
            pass
        for _ in range(10 * len(asks)):  # some after what the test did
            assert begun.acquire(timeout=20)
    finally:
        stopping.set()
        for thread in threads:
            thread.join(20)


def test_no_request_fails_while_versions_labels_and_paths_change(put):
    a, b = put("a/1", 1), put("b/2", 2)
    put("c/2", 3)
    first = ModelConfig("m", a, labels={"stable": 1})
    with managing(first) as manager, asked_all_the_time(manager, ("m", {}), ("m", {"label": "stable"})) as answers:
        manager.reload([ModelConfig("m", b, labels={"stable": 2})])
        assert until(lambda: [of[-1] for of in answers] == [2.0, 2.0])
        manager.reload([ModelConfig("m", os.path.join(os.path.dirname(b), "c"), labels={"stable": 2})])
        assert offset(manager, "m") == offset(manager, "m", label="stable") == 3.0
    assert answers == [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]


def test_labels_are_promoted_and_rolled_back(put):
    a = put("a/1", 1)
    put("a/2", 2)

    def labelled(**labels):
        return [ModelConfig("m", a, "all", labels=labels)]

    with managing(*labelled(stable=1, canary=2)) as manager:
        with asked_all_the_time(manager, ("m", {"label": "stable"})) as answers:
            manager.reload(labelled(stable=2))
            with pytest.raises(StatusError, match="Unrecognized servable version label: canary"):
                offset(manager, "m", label="canary")
            assert until(lambda: answers[0][-1] == 2.0)
            manager.reload(labelled(stable=1))
            with pytest.raises(StatusError, match='label "stable" to version 3 .* not currently available') as caught:
                manager.reload(labelled(stable=3))
            assert caught.value.code == FP
            assert until(lambda: answers[0][-1] == 1.0)
        assert answers == [[1.0, 2.0, 1.0]]


def test_label_of_a_version_that_the_same_reload_drops(put):
    a = put("a/1", 1)
    put("a/2", 2)
    with managing(ModelConfig("m", a, "all", labels={"stable": 1})) as manager:
        with pytest.raises(StatusError, match="not currently available"):
            manager.reload([ModelConfig("m", a, labels={"stable": 1})])
        assert offset(manager, "m", label="stable") == 1.0


def test_a_reload_that_fails_changes_nothing(put, tmp_path):
    a, c = put("a/1", 1), put("c/1", 7)
    put("a/2", 2)
    (tmp_path / "bad").mkdir()
    broken(tmp_path / "bad" / "1")
    bad = str(tmp_path / "bad")
    before = [ModelConfig("m", a, "specific", versions=(1,), labels={"stable": 1}), ModelConfig("n", c)]
    with managing(*before) as manager:
        asks = ("m", {}), ("m", {"version": 1}), ("m", {"label": "stable"}), ("n", {})
        with asked_all_the_time(manager, *asks[1:]) as answers:
            with pytest.raises(StatusError, match=r"1 servable\(s\) did not become available: {x version 1: Can't"):
                manager.reload([ModelConfig("m", a, "specific", versions=(2,)), ModelConfig("x", bad)])
            with pytest.raises(StatusError, match=r"{n version 1: Can't parse"):
                manager.reload([before[0], ModelConfig("n", bad)])  # the same number in another folder
            with pytest.raises(StatusError, match="within 0.2 s: model y .no version loaded yet"):
                manager.reload([before[0], ModelConfig("y", str(tmp_path / "y"))], timeout=0.2)
        assert answers == [[1.0], [1.0], [7.0]]
        assert until(lambda: offset(manager, "m") == 1.0)
        for name in "xy":
            with pytest.raises(StatusError, match=rf"Latest\({name}\)"):
                offset(manager, name)
        assert [status.error_code for status in (one.status for one in statuses(manager, "n"))] == [0]


def statuses(manager, model):
    return manager.statuses(model_pb2.ModelSpec(name=model))


def test_a_removed_model_is_gone_at_once_and_may_come_back(put):
    a, b = put("a/1", 1), put("b/1", 2)
    with managing(ModelConfig("a", a), ModelConfig("b", b)) as manager:
        manager.reload([ModelConfig("a", a)])
        with pytest.raises(StatusError, match=r"Latest\(b\)") as caught:
            offset(manager, "b")
        assert caught.value.code == NF and [status.state for status in statuses(manager, "b")] == [State.END]
        manager.reload([ModelConfig("a", a), ModelConfig("b", b)])
        assert offset(manager, "b") == 2.0 and offset(manager, "a") == 1.0


def test_a_model_that_failed_for_good_may_be_mended_by_another_path(put, tmp_path):
    (tmp_path / "bad").mkdir()
    broken(tmp_path / "bad" / "1")
    with managing(ModelConfig("a", put("a/1", 1)), ModelConfig("m", str(tmp_path / "bad"))) as manager:
        assert statuses(manager, "m")[0].state == State.END
        manager.reload([ModelConfig("m", put("good/1", 4))])
        assert offset(manager, "m") == 4.0


def test_a_request_under_way_outlives_the_removal_of_its_model(put):
    with managing(ModelConfig("a", put("a/1", 1))) as manager:
        message = request({"x": [0.0]}, model="a")
        with manager.lease(message.model_spec) as (_, servable):
            manager.reload([])
            assert [status.state for status in statuses(manager, "a")] == [State.UNLOADING]
            assert servable.predict(message).outputs["y"].float_val == [1.0]
        assert [status.state for status in statuses(manager, "a")] == [State.END]


def test_a_request_looks_at_no_version_that_ended(put, monkeypatch):
    a = put("a/1", 1)
    with managing(ModelConfig("m", a, labels={"old": 1})) as manager:
        put("a/2", 2)
        assert until(lambda: [one.state for one in statuses(manager, "m")] == [State.AVAILABLE, State.END])
        manager.stop()
        monkeypatch.setattr(manager, "_versions", None)  # a model may remember a thousand that ended
        assert offset(manager, "m") == offset(manager, "m", version=2) == 2.0
        for words, told in (({"version": 1}, "Specific"), ({"version": 3}, "Specific"), ({"label": "old"}, "Specific")):
            with pytest.raises(StatusError, match=told):
                offset(manager, "m", **words)
        assert manager.loaded() == [("m", 2)]
        monkeypatch.undo()


def test_a_model_may_go_while_its_states_are_asked_for(put):
    class Models(dict):
        """Found to hold a model, and rid of it before that is made use of, unless a lock holds that up."""

        def __contains__(self, name):
            if threading.current_thread() is asking and not removal.ident:
                removal.start()
                removal.join(0.3)
            return super().__contains__(name)

    with managing(ModelConfig("m", put("a/1", 1), labels={"stable": 1})) as manager:
        asking, removal = threading.current_thread(), threading.Thread(target=manager.reload, args=[[]])
        manager._models = Models(manager._models)
        spec = model_pb2.ModelSpec(name="m", version_label="stable")
        assert [one.version for one in manager.statuses(spec)] == [1]
        removal.join(20)
        with pytest.raises(StatusError, match="Unrecognized servable version label: stable"):
            manager.statuses(spec)


def test_reloads_from_many_threads_follow_each_other(put):
    a, b = put("a/1", 1), put("b/1", 2)
    with managing(ModelConfig("m", a)) as manager, concurrent.futures.ThreadPoolExecutor(4) as pool:
        with asked_all_the_time(manager, ("m", {})) as answers:
            list(pool.map(lambda path: manager.reload([ModelConfig("m", path)]), [a, b] * 4))
        assert set(answers[0]) <= {1.0, 2.0} and offset(manager, "m") in (1.0, 2.0)


@contextlib.contextmanager
def reloading(manager, models, **words):
    """A reload in a thread of its own that waits for its models, and the error that it ended with."""
    caught = []

    def reload():
        with pytest.raises(StatusError) as error:
            manager.reload(models, **words)
        caught.append(error.value)

    thread = threading.Thread(target=reload, daemon=True)
    thread.start()
    assert until(lambda: {model.name for model in models} <= {model.name for model in manager.models()})
    yield caught
    thread.join(20)
    assert not thread.is_alive()


def test_a_reload_waits_for_the_one_before_it_no_longer_than_it_may(put, tmp_path):
    a, gone = ModelConfig("a", put("a/1", 1)), threading.Event()
    with managing(a) as manager:
        with reloading(manager, [a, ModelConfig("never", str(tmp_path / "never"))], gone=gone.is_set):
            with pytest.raises(StatusError, match="The reload before this one is not done after 0.1 s; ask") as caught:
                manager.reload([], timeout=0.1)
            assert caught.value.code == Code.DEADLINE_EXCEEDED
            gone.set()
        assert until(lambda: manager.models() == [a]) and offset(manager, "a") == 1.0, "it is not applied later"


def test_a_reload_that_waited_has_only_what_is_left_of_its_time(put, tmp_path, monkeypatch):
    later, gone, begun = [0.0], threading.Event(), threading.Event()
    clock = types.SimpleNamespace(monotonic=lambda: time.monotonic() + later[0])
    monkeypatch.setattr(models_of_server, "time", clock)
    a, never, late = ModelConfig("a", put("a/1", 1)), *(ModelConfig(name, f"{tmp_path}/none") for name in "nl")
    with concurrent.futures.ThreadPoolExecutor() as pool, managing(a) as manager:
        with reloading(manager, [never], gone=gone.is_set):
            second = pool.submit(manager.reload, [late], timeout=500, gone=begun.set)
            assert begun.wait(20)
            later[0] += 300
            gone.set()
        assert until(lambda: late in manager.models())
        later[0] += 300
        error = second.exception(timeout=20)
        assert error.code == Code.DEADLINE_EXCEEDED and "within 500.0 s: model l (no version" in error.message
        assert manager.models() == [a] and offset(manager, "a") == 1.0


def test_a_reload_ends_with_its_client(put, tmp_path):
    a, gone = ModelConfig("a", put("a/1", 1)), threading.Event()
    with managing(a) as manager:
        with reloading(manager, [ModelConfig("never", str(tmp_path / "never"))], gone=gone.is_set) as caught:
            assert offset(manager, "a") == 1.0
            gone.set()
        assert caught[0].code == Code.CANCELLED and manager.models() == [a]
        put("a/2", 2)  # versions change again
        assert until(lambda: [one.state for one in statuses(manager, "a")] == [State.AVAILABLE, State.END])


def test_a_reload_without_a_limit_ends_all_the_same(put, tmp_path, monkeypatch):
    monkeypatch.setattr(models_of_server, "RELOAD_SECONDS", 0.1)
    a = ModelConfig("a", put("a/1", 1))
    with managing(a) as manager:
        with pytest.raises(StatusError, match="within 0.1 s: model never .no version loaded yet"):
            manager.reload([ModelConfig("never", str(tmp_path / "never"))])
        assert manager.models() == [a]


def test_a_reload_that_the_server_does_not_see_out_is_not_told_to_be_done(put, tmp_path):
    a = ModelConfig("a", put("a/1", 1))
    with managing(a) as manager:
        with reloading(manager, [ModelConfig("never", str(tmp_path / "never"))]) as caught:
            manager.interrupt()
        assert caught[0].code == Code.UNAVAILABLE and manager.models() == [a]


def test_a_broken_newest_version_hinders_neither_other_models_nor_labels(put):
    a, b = put("a/1", 1), put("b/1", 2)
    with managing(ModelConfig("m", a, labels={"old": 1})) as manager:
        appear(pathlib.Path(a), 2, broken)
        assert until(lambda: len(statuses(manager, "m")) == 2 and statuses(manager, "m")[0].state == State.END)
        manager.reload([ModelConfig("m", a, labels={"old": 1}), ModelConfig("n", b)])
        assert offset(manager, "m") == 1.0 and offset(manager, "n") == 2.0
        manager.reload([ModelConfig("m", a, labels={"stable": 1})])
        assert offset(manager, "m", label="stable") == 1.0
        with pytest.raises(StatusError, match="not currently available"):
            manager.reload([ModelConfig("m", a, labels={"stable": 2})])


def test_a_model_that_still_waits_for_its_folder_hinders_no_other(put, tmp_path):
    late = ModelConfig("late", str(tmp_path / "late"))
    with managing(late) as manager:
        manager.reload([late, ModelConfig("a", put("a/1", 1))], timeout=20)
        assert offset(manager, "a") == 1.0
        put("late/1", 3)
        assert until(lambda: statuses_or_none(manager, "late"))
        assert offset(manager, "late") == 3.0


def statuses_or_none(manager, model):
    try:
        return [one for one in statuses(manager, model) if one.state == State.AVAILABLE]
    except StatusError:
        return None
