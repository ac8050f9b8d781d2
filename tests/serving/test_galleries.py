"""Galleries changed on a running server: found at once, gone for good, and refused in one sentence."""

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import shutil
import threading

import grpc
import pytest
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2

from saved_models import changes, gallery, versions
from serving import gallery as command
from serving.channel import Connection
from serving.client import Client
from serving.config import ModelConfig
from serving.errors import FailedPrecondition, InvalidArgument, NotFound, ServingError, Unavailable, Unimplemented
from serving.galleries import MOST_WAITING, SERVICE, Galleries
from serving.gallery_client import GalleryClient
from serving.server import Server
from serving.status import Code, StatusError
from serving.values import to_proto
from tests.serving import certificates
from tests.serving.toys import Encoder, png, until
from tests.tfrecords.here import run_here

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A server of `gallery` (red, green, blue) and `toy`, whose polling would not see a change in time."""
    folder = tmp_path_factory.mktemp("galleries")
    Encoder().save(folder / "toy" / "1", "embed")
    entries = [(name, f"{name}/0", png(*colour)) for name, colour in COLOURS.items()]
    gallery.build(str(folder / "toy" / "1"), entries, str(folder), k=2, threshold=0.5, check=False)
    models = [ModelConfig(name, str(folder / name), "all") for name in ("gallery", "toy")]
    with Server(models, port=0, poll_seconds=600, gallery_changes=True) as server:
        server.folder = folder
        yield server


@pytest.fixture
def asked(running):
    with Client(running.address, "gallery") as client, GalleryClient(running.address) as changes:
        yield client, changes


def test_what_is_enrolled_is_found_by_the_next_search_and_no_search_fails_meanwhile(asked):
    client, changes = asked
    yellow, stop, failed = png(255, 255, 0), threading.Event(), []

    def search():
        while not stop.is_set():
            try:
                client.search([yellow])
            except Exception as error:  # noqa: BLE001
                failed.append(error)
    thread = threading.Thread(target=search)
    thread.start()
    try:
        answer = changes.enrol([("yellow", "yellow/0", yellow), ("yellow", "yellow/1", png(250, 250, 5))])
    finally:
        stop.set()
        thread.join()
    assert not failed
    assert (answer["count"], answer["identities"], answer["skipped"]) == (5, 4, [])
    assert client.search([yellow])["identities"].tolist() == [["yellow", "yellow"]]
    assert changes.remove(entries=["yellow/1"])["count"] == 4
    assert "yellow/1" not in client.search([yellow])["entries"]
    assert changes.remove(identities=["yellow"])["identities"] == 3
    assert "yellow" not in client.search([yellow])["identities"]


def test_an_image_that_cannot_be_read_is_told(asked):
    _, changes = asked
    new = [("grey", f"grey/{i}", png(i, i, i)) for i in range(100, 130)] + [("grey", "grey/bad", b"no image")]
    answer = changes.enrol(new)
    assert answer["count"] == 33 and [entry for entry, _ in answer["skipped"]] == ["grey/bad"]
    changes.remove(identities=["grey"])


def test_erased_means_in_no_file_that_is_left(running, asked):
    client, changes = asked
    image = png(10, 200, 130)
    changes.enrol([("teal", "teal/0", image)])
    folder = running.folder / "gallery"
    newest = max(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    vectors, identities, _ = gallery.load_entries(str(folder / str(newest)))
    needle = vectors[identities.index("teal")].tobytes()
    assert any(needle in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    answer = changes.erase(identities=["teal"])
    proof = answer["proof"]
    assert proof["vectors"] == 1 and proof["found"] == [] and proof["versions"] == [answer["version"]]
    assert proof["files"] > 3 and proof["bytes"] > 1000
    assert not any(needle in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert [state["version"] for state in client.status() if state["state"] == "AVAILABLE"] == [answer["version"]]
    assert "teal" not in client.search([image])["identities"]


@pytest.mark.parametrize("erase, told", [
    (tensor_pb2.TensorProto(dtype=10, tensor_shape={"dim": [{"size": -2}]}), "no dtype or no full shape"),
    (tensor_pb2.TensorProto(dtype=10, tensor_shape={"dim": [{"size": 2**40}]}), "to have shape"),
    (tensor_pb2.TensorProto(dtype=7, tensor_shape={}, string_val=[b"yes"]), "to be bool but string is provided"),
])
def test_whether_to_erase_is_one_bool(running, erase, told):
    request = predict_pb2.PredictRequest(inputs={"erase": erase})
    request.model_spec.name = "gallery"
    with grpc.insecure_channel(running.address) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/few_label_images.GalleryService/Remove")(request.SerializeToString(), timeout=20)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT and told in caught.value.details()


@pytest.mark.parametrize("change, error, told", [
    (lambda changes: changes.enrol([("red", "red/0", png(1, 2, 3))]), InvalidArgument, "`red/0` is enrolled twice"),
    (lambda changes: changes.enrol([("", "x", png(1, 2, 3))]), InvalidArgument, "name of 0 bytes"),
    (lambda changes: changes.enrol([("a" * 2000, "x", png(1, 2, 3))]), InvalidArgument, "name of 2000 bytes"),
    (lambda changes: changes.enrol([("x", "x", b"no image")]), InvalidArgument, "none of the 1 images can be used"),
    (lambda changes: changes.remove(identities=["redd"]), InvalidArgument, "`redd` is not enrolled; did you mean red"),
    (lambda changes: changes.remove(), InvalidArgument, "both empty"),
    (lambda changes: changes.erase(identities=["redd"]), InvalidArgument, "is not enrolled in any version .* mean red"),
    (lambda changes: changes.enrol([("x", "x", png(1, 2, 3))], keep=0), InvalidArgument, "`keep` is 0 but must be"),
])
def test_refusals_leave_the_gallery_as_it_is(asked, change, error, told):
    client, changes = asked
    before = client.status()
    with pytest.raises(error, match=told):
        change(changes)
    assert client.status() == before


def test_what_is_no_gallery_is_not_changed(running):
    for model, error, told in (("toy", FailedPrecondition, "no gallery"), ("nobody", NotFound, "Latest\\(nobody\\)")):
        with GalleryClient(running.address, model) as changes, pytest.raises(error, match=told):
            changes.remove(identities=["red"])
    with pytest.raises(ValueError, match="No image to enrol"), GalleryClient(running.address) as changes:
        changes.enrol([])


def test_counts_that_do_not_fit_are_refused(running):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "gallery"
    for name, count in (("image_bytes", 2), ("identities", 1), ("entries", 2)):
        request.inputs[name].dtype = 7
        request.inputs[name].tensor_shape.dim.add().size = count
        request.inputs[name].string_val.extend([b"x"] * count)
    with grpc.insecure_channel(running.address) as channel:
        with pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary(f"/{SERVICE}/Enrol")(request.SerializeToString())
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "`image_bytes` holds 2, `identities` 1 and `entries` 2" in raised.value.details()


def test_a_server_without_the_flag_says_so(running):
    with Server([ModelConfig("gallery", str(running.folder / "gallery"))], port=0) as other:
        with GalleryClient(other.address) as changes, pytest.raises(Unimplemented, match="--enable_gallery_changes"):
            changes.remove(identities=["red"])


# ---- Several versions, several who change them, and changes that end on their way ----


# No colour's three numbers lie across the border of two others, as those of (255, 0, 0) do.
SHADES = {"red": (255, 20, 30), "green": (40, 250, 50), "blue": (60, 70, 240)}
YELLOW, PINK = png(255, 250, 10), png(255, 100, 180)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """The folder of a gallery of three versions: red, green, blue; yellow as well; without yellow."""
    folder = tmp_path_factory.mktemp("three")
    Encoder().save(folder / "toy" / "1", "embed")
    entries = [(name, f"{name}/0", png(*colour)) for name, colour in SHADES.items()]
    gallery.build(str(folder / "toy" / "1"), entries, str(folder), k=2, threshold=0.5, check=False)
    gallery.enrol(str(folder / "gallery" / "1"), [("yellow", "yellow/0", YELLOW)], check=False)
    gallery.remove(str(folder / "gallery" / "2"), ["yellow"], check=False)
    return folder / "gallery"


@pytest.fixture
def folder(three, tmp_path):
    shutil.copytree(three, tmp_path / "gallery")
    return tmp_path / "gallery"


def serving(folder, poll_seconds=600, credentials=None, **config):
    return Server([ModelConfig("gallery", str(folder), **config)], port=0, poll_seconds=poll_seconds,
                  gallery_changes=True, credentials=credentials)


def present(folder):
    return versions.list_versions(*os.path.split(folder))


def identities(folder):
    return gallery.load_entries(versions.latest(*os.path.split(folder)))[1]


def test_a_change_begins_at_what_is_written_though_it_does_not_serve_yet(folder):
    with serving(folder) as server, GalleryClient(server.address) as changing:
        gallery.enrol(str(folder / "3"), [("yellow", "yellow/0", YELLOW)], check=False)
        assert changing.enrol([("pink", "pink/0", PINK)])["version"] == 5
        assert identities(folder) == [*SHADES, "yellow", "pink"]
        (folder / "6").mkdir()      # not a version: begun by hand
        assert changing.remove(identities=["red"])["version"] == 7


def test_a_damaged_newest_version_is_not_passed_over(folder):
    with serving(folder) as server, Connection(server.address) as way:
        client, changing = Client(way, "gallery"), GalleryClient(way)
        newer = gallery.enrol(str(folder / "3"), [("yellow", "yellow/0", YELLOW)], check=False)
        shutil.rmtree(os.path.join(newer, "variables"))
        with pytest.raises(FailedPrecondition, match="Version 4, where a change begins, is damaged: bring its folder"):
            changing.enrol([("pink", "pink/0", PINK)])
        assert client.search([png(255, 0, 0)])["identities"][0, 0] == "red" and present(folder) == [1, 2, 3, 4]
        shutil.rmtree(newer)
        assert changing.enrol([("pink", "pink/0", PINK)])["version"] == 4


def test_older_versions_go_once_the_new_one_serves_but_those_that_are_named(folder):
    with serving(folder, labels={"stable": 1}, policy="all") as server, GalleryClient(server.address) as changing:
        assert changing.enrol([("pink", "pink/0", PINK)])["version"] == 4 and present(folder) == [1, 3, 4]
        changing.remove(entries=["pink/0"], keep=1)
        assert present(folder) == [1, 5]
    with serving(folder, latest=3) as server, GalleryClient(server.address) as changing:
        for i, left in enumerate(([1, 5, 6], [5, 6, 7])):
            changing.enrol([("pink", f"pink/{i}", PINK)])
            assert present(folder) == left, "the policy serves three"


def test_nothing_goes_before_the_new_version_serves(folder, monkeypatch):
    with serving(folder) as server, GalleryClient(server.address) as changing:
        monkeypatch.setattr("serving.models.Servable", None)        # loads nothing any more
        server._manager._load_retries = 0
        for change, told in (
            (lambda: changing.enrol([("pink", "pink/0", PINK)], keep=1), "Version 4 .* is written but cannot be load"),
            (lambda: changing.erase(["red"]), "Nothing is erased yet; erase again, which goes on then"),
        ):
            with pytest.raises(ServingError, match=told):
                change()
        assert present(folder) == [1, 2, 3, 4, 5]
        monkeypatch.undo()
    with serving(folder) as server, GalleryClient(server.address) as changing:
        answer = changing.erase(["red"])
        assert answer["version"] == 5 and answer["proof"]["vectors"] == 1 and answer["proof"]["found"] == []
        assert present(folder) == [5] and identities(folder) == ["green", "blue", "pink"]


def test_a_server_that_goes_down_removes_nothing(folder):
    with serving(folder) as server:
        server._manager.interrupt()
        with GalleryClient(server.address) as changing, pytest.raises(Unavailable, match="but the server goes down"):
            changing.enrol([("pink", "pink/0", PINK)], keep=1)
        assert present(folder) == [1, 2, 3, 4]


def test_what_only_older_versions_hold_is_erased_and_the_newest_stays(folder):
    with serving(folder, labels={"stable": 3}) as server, GalleryClient(server.address) as changing:
        answer = changing.erase(["yellow"])
        assert answer["version"] == 3 and answer["proof"]["vectors"] == 1 and answer["proof"]["found"] == []
        assert present(folder) == [3]
        with pytest.raises(InvalidArgument, match="`yellow` is not enrolled in any version"):
            changing.erase(["yellow"])


def test_the_last_one_can_be_erased_and_somebody_enrolled_then(folder):
    with serving(folder) as server, Connection(server.address) as way:
        client, changing = Client(way, "gallery"), GalleryClient(way)
        answer = changing.erase(list(SHADES))
        assert (answer["count"], answer["proof"]["vectors"], answer["proof"]["found"]) == (0, 3, [])
        found = client.search([PINK])
        assert found["unknown"].tolist() == [True] and found["identities"].tolist() == [[""]]
        changing.enrol([("pink", "pink/0", PINK)])
        assert client.search([PINK])["identities"].tolist() == [["pink"]]


@pytest.mark.parametrize("config, name, told", [
    ({"labels": {"stable": 3}, "policy": "all"}, "red", 'Version 3 .* would be erased but label "stable" of model'),
    ({"labels": {"old": 2}, "policy": "all"}, "yellow", 'Version 2 .* would be erased but label "old" of model'),
    ({"policy": "specific", "versions": (3,)}, "red", "names the versions it serves, which a new one is not; change"),
])
def test_versions_that_somebody_asks_for_by_name_are_not_erased(folder, config, name, told):
    with serving(folder, **config) as server, GalleryClient(server.address) as changing:
        with pytest.raises(FailedPrecondition, match=told):
            changing.erase([name])
    assert present(folder) == [1, 2, 3]


def removal(name):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "gallery"
    request.inputs["identities"].CopyFrom(to_proto("identities", [name]))
    return request


def stays():
    return False


def leaves():
    return True


def test_changes_wait_no_longer_than_their_deadline_and_few_at_a_time(folder):
    with serving(folder) as server, concurrent.futures.ThreadPoolExecutor(MOST_WAITING + 1) as pool:
        own = Galleries(server._manager)
        with changes.exclusive(str(folder)):        # as another command
            with pytest.raises(StatusError, match="being changed by another command or server after 0.1 s") as told:
                own.remove(removal("red"), timeout=0.1)
            assert told.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
            asked = [pool.submit(own.remove, removal(name), 60.0) for name in ["red", *["green"] * MOST_WAITING]]
            assert until(lambda: own._turns["gallery"].asked == MOST_WAITING + 1)
            with pytest.raises(StatusError, match="4 changes of gallery gallery wait already") as told:
                own.remove(removal("blue"), timeout=60.0)
            assert told.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        errors = [future.exception() for future in asked]
        assert errors.count(None) == 2 and own._turns["gallery"].asked == 0, "red and green, once each"
        assert identities(folder) == ["blue"]
        with own._turn("gallery", 0.0, stays), pytest.raises(StatusError, match="took longer than 0.1 s; nothing has"):
            own.remove(removal("blue"), timeout=0.1)


def test_a_change_ends_with_its_client_wherever_it_waits(folder, monkeypatch):
    with serving(folder) as server:
        own = Galleries(server._manager)
        for others in (own._turn("gallery", 0.0, stays), changes.exclusive(str(folder))):
            with others, pytest.raises(StatusError, match="has gone; nothing has changed") as told:
                own.remove(removal("red"), gone=leaves)
            assert told.value.code == Code.CANCELLED and present(folder) == [1, 2, 3]
        monkeypatch.setattr("serving.models.Servable", None)        # loads nothing any more
        with pytest.raises(StatusError, match="Version 4 of model gallery is written but whoever asked for") as told:
            own.remove(removal("red"), gone=leaves)
        assert told.value.code == Code.CANCELLED and present(folder) == [1, 2, 3, 4]
        with own._turn("gallery", 0.0, stays):
            assert own._turns["gallery"].asked == 1, "nobody holds the turn who has gone"


def test_a_change_without_a_deadline_ends_all_the_same(folder, monkeypatch):
    monkeypatch.setattr("serving.galleries.CHANGE_SECONDS", 0.1)
    with serving(folder) as server:
        own = Galleries(server._manager)
        monkeypatch.setattr("serving.models.Servable", None)        # loads nothing any more
        for others, late in (
            (own._turn("gallery", 0.0, stays), "Other changes of gallery gallery took longer than 0.[01] s"),
            (changes.exclusive(str(folder)), "being changed by another command or server after 0.[01] s"),
            (contextlib.nullcontext(), "Version 4 of model gallery is written but does not serve after"),
        ):
            with others, pytest.raises(StatusError, match=late) as told:
                own.remove(removal("red"))
            assert told.value.code == Code.DEADLINE_EXCEEDED


def test_a_folder_without_versions_is_told_as_such(folder):
    with serving(folder) as server, GalleryClient(server.address) as changing:
        for spoil in (lambda: [shutil.rmtree(one) for one in folder.iterdir()], folder.rmdir):
            spoil()
            with pytest.raises(FailedPrecondition, match="gallery cannot be changed: .* holds no version of `gallery`"):
                changing.enrol([("pink", "pink/0", PINK)])


def test_a_version_that_gets_a_label_while_another_is_written_is_not_erased(folder, monkeypatch):
    with serving(folder, policy="all") as server, GalleryClient(server.address) as changing:
        manager, [model] = server._manager, server._manager.models()

        def promoted(*words, wait_for=manager.wait_for):
            wait_for(*words)
            manager.reload([dataclasses.replace(model, labels={"stable": 3})])
        monkeypatch.setattr(manager, "wait_for", promoted)
        with pytest.raises(FailedPrecondition, match='Version 3 .* label "stable" .* Nothing is erased yet; erase aga'):
            changing.erase(["red"])
        assert present(folder) == [1, 2, 3, 4]
        monkeypatch.undo()
        manager.reload([model])
        assert changing.erase(["red"])["proof"]["found"] == [] and present(folder) == [4]


def test_certificates_of_clients_protect_changes(folder, tmp_path, capsys):
    pem = certificates.make(tmp_path)
    pair = (pem / "server.key").read_bytes(), (pem / "server.pem").read_bytes()
    (tmp_path / "pink.png").write_bytes(PINK)
    credentials = grpc.ssl_server_credentials([pair], (pem / "ca.pem").read_bytes(), True)
    with serving(folder, credentials=credentials) as server:
        words = ("enrol", f"--server={server.address}", "--identity=pink", f"--tls_ca={pem}/ca.pem")
        code, _, error = run_here(command, capsys, *words, tmp_path / "pink.png")
        assert code == 1 and "UNAVAILABLE" in error and "Traceback" not in error
        own = (f"--tls_cert={pem}/client.pem", f"--tls_key={pem}/client.key")
        code, out, error = run_here(command, capsys, *words, *own, tmp_path / "pink.png")
        assert code == 0 and "4 entries of 4 identities" in out, error
        with Connection(server.address, pem / "ca.pem", pem / "client.pem", pem / "client.key") as way:
            with GalleryClient(way) as changing:
                assert changing.remove(["pink"])["identities"] == 3
            with Client(way, "gallery") as client:
                assert client.search([PINK])["identities"][0, 0] == "red", "a connection that was lent stays open"


# ---- Command ----


def test_the_command_changes_a_running_server(running, asked, tmp_path, capsys):
    client, _ = asked
    (tmp_path / "mint.png").write_bytes(png(100, 255, 180))
    words = (f"--server={running.address}", "--task=gallery")
    code, out, error = run_here(command, capsys, "enrol", *words, "--identity=mint", tmp_path / "mint.png")
    assert code == 0 and f"{running.address}, gallery version " in out and "4 entries of 4 identities" in out, error
    assert len(versions.list_versions(running.folder, "gallery")) == 2
    assert client.search([tmp_path / "mint.png"])["identities"][0, 0] == "mint"
    code, out, error = run_here(command, capsys, "erase", *words, "--identity=mint", f"--proof={tmp_path}/proof.json")
    assert code == 0 and "erased: 1 vectors are in none of the " in out, error
    proof = json.loads((tmp_path / "proof.json").read_text())
    assert proof["identities"] == ["mint"] and proof["found"] == [] and proof["vectors"] == 1
    (tmp_path / "pink.png").write_bytes(png(255, 100, 180))
    for picture, keep, left in (("mint", 3, 2), ("pink", 3, 3), ("none", 1, 1)):
        what = ("remove", "--identity=pink") if picture == "none" else ("enrol", f"--identity={picture}")
        images = [] if picture == "none" else [tmp_path / f"{picture}.png"]
        code, _, error = run_here(command, capsys, *what, *words, f"--keep={keep}", *images)
        assert code == 0 and len(versions.list_versions(running.folder, "gallery")) == left, error
    code, _, error = run_here(command, capsys, "erase", *words, "mint")
    assert code == 0, error
    code, _, error = run_here(command, capsys, "remove", *words, "--identity=mint", "--keep=0")
    assert code == 1 and "`keep` is 0 but must be an integer of at least 1" in error
    code, _, error = run_here(command, capsys, "remove", *words, "--identity=mint", "--retries=3")
    assert code == 1 and "`--retries` does not belong to remove" in error
    code, _, error = run_here(command, capsys, "remove", *words, "--identity=mint")
    assert code == 1 and "INVALID_ARGUMENT: Identity `mint` is not enrolled" in error
    code, _, error = run_here(command, capsys, "remove", *words, "--identity=red", f"--gallery={running.folder}")
    assert code == 1 and "`--gallery` is of a folder but --server=" in error


@pytest.mark.slow        # each change is verified in a process of its own
def test_the_command_erases_in_a_folder(tmp_path, capsys):
    Encoder().save(tmp_path / "toy" / "1", "embed")
    entries = [(name, f"{name}/0", png(*colour)) for name, colour in (
        ("red", (255, 20, 30)), ("green", (40, 250, 50)), ("blue", (60, 70, 240)))]
    gallery.build(str(tmp_path / "toy" / "1"), entries, str(tmp_path), k=2, check=False)
    twin = [("twin", "twin/0", png(255, 20, 30))]
    gallery.enrol(str(tmp_path / "gallery" / "1"), twin, check=False)
    words = ("erase", f"--gallery={tmp_path}/gallery")
    code, _, error = run_here(command, capsys, *words, "--identity=red")
    assert code == 1 and "Entry `twin/0` of `twin` has a vector that is to be erased" in error
    code, out, error = run_here(command, capsys, *words, "red", "twin", f"--proof={tmp_path}/proof.json")
    assert code == 0 and "erased: 1 vectors" in out and "2 entries of 2 identities" in out, error
    code, out, error = run_here(command, capsys, *words, "green", "blue")
    assert code == 0 and "erased: 2 vectors" in out and "0 entries of 0 identities" in out, error
