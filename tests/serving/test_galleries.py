"""Galleries changed on a running server: found at once, gone for good, and refused in one sentence."""

import json
import threading

import grpc
import pytest
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2

from saved_models import gallery
from serving import gallery as command
from serving.client import Client
from serving.config import ModelConfig
from serving.errors import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from serving.galleries import SERVICE
from serving.gallery_client import GalleryClient
from serving.server import Server
from tests.serving.toys import Encoder, png
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
    (lambda changes: changes.remove(identities=list(COLOURS)), InvalidArgument, "at least one"),
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




def test_the_command_changes_a_running_server(running, asked, tmp_path, capsys):
    client, _ = asked
    (tmp_path / "mint.png").write_bytes(png(100, 255, 180))
    words = (f"--server={running.address}", "--task=gallery")
    code, out, error = run_here(command, capsys, "enrol", *words, "--identity=mint", tmp_path / "mint.png")
    assert code == 0 and f"{running.address}, gallery version " in out and "4 entries of 4 identities" in out, error
    assert client.search([tmp_path / "mint.png"])["identities"][0, 0] == "mint"
    code, out, error = run_here(command, capsys, "erase", *words, "--identity=mint", f"--proof={tmp_path}/proof.json")
    assert code == 0 and "erased: 1 vectors are in none of the " in out, error
    proof = json.loads((tmp_path / "proof.json").read_text())
    assert proof["identities"] == ["mint"] and proof["found"] == [] and proof["vectors"] == 1
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
    code, _, error = run_here(command, capsys, "erase", f"--gallery={tmp_path}/gallery", "--identity=red")
    assert code == 1 and "1 files still hold a vector that was to be erased (3/variables/" in error
    code, out, error = run_here(command, capsys, "erase", f"--gallery={tmp_path}/gallery", "--identity=twin")
    assert code == 0 and "erased: 1 vectors" in out and "2 entries of 2 identities" in out, error
