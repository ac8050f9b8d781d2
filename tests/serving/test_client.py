"""Client and its command against a server process, and against addresses where none is."""

import concurrent.futures
import io
import json
import socket
import threading
import time

import grpc
import numpy as np
import pytest
from absl import flags
from PIL import Image
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

import serving.gallery
import serving.server
from saved_models import gallery, signatures
from serving import client, client_command, questions, values
from serving.answers import image_size, png_size
from serving.client import Client
from tests.serving.toys import png, run_process, until
from tests.tfrecords.here import run_here

RED, GREEN, BLUE = png(255, 0, 0), png(0, 255, 0), png(0, 0, 255)


@pytest.fixture(scope="module")
def toy(served):
    with Client(served.address, "toy", version=1) as toy:
        toy.wait_ready(20)
        yield toy


@pytest.fixture()
def files(tmp_path):
    for name, data in (("red.png", RED), ("green.png", GREEN), ("bad.png", b"no image"), ("empty.png", b"")):
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_embed_takes_paths_bytes_one_or_many(toy, files):
    expected = toy.embed([RED, GREEN])
    assert expected.shape == (2, 3) and expected.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1.0, atol=1e-6)
    np.testing.assert_array_equal(toy.embed([files / "red.png", str(files / "green.png")]), expected)
    np.testing.assert_array_equal(toy.embed(GREEN), expected[1:])


def test_many_images_go_in_chunks_and_come_back_in_order(toy, monkeypatch):
    images = [png(i, 255 - i, 0) for i in range(0, 140, 2)]
    sizes = []
    monkeypatch.setattr(
        toy,
        "predict",
        lambda signature, inputs: (
            sizes.append(len(inputs["image_bytes"])) or Client.predict(toy, signature, inputs)
        ),
    )
    vectors = toy.embed(images)
    assert sizes == [32, 32, 6]
    colours = np.array([[i, 255 - i, 0] for i in range(0, 140, 2)]) + 1.0
    np.testing.assert_allclose(vectors, colours / np.linalg.norm(colours, axis=1, keepdims=True), atol=1e-6)


def test_ask_gives_the_vectors_of_images_that_ask(toy, served):
    vectors = toy.ask([RED, GREEN, BLUE])
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, toy.embed([RED, GREEN, BLUE])[:, ::-1])
    with Client(served.address, "toy", version=2) as other, pytest.raises(client.FailedPrecondition) as caught:
        other.ask(RED)
    assert str(caught.value) == (
        f"Server {served.address}, model toy version 2: FAILED_PRECONDITION: the model has no signature `ask`, "
        "so images ask by its `embed`; use that."
    )


def test_another_reason_why_ask_fails_is_not_hidden(toy, monkeypatch):
    def predict(signature, inputs):
        raise client.FailedPrecondition("FAILED_PRECONDITION", "a table is not initialised")

    monkeypatch.setattr(toy, "predict", predict)
    with pytest.raises(client.FailedPrecondition, match="a table is not initialised"):
        toy.ask(RED)


def test_verify(toy):
    answer = toy.verify([RED, RED], [RED, BLUE])
    assert sorted(answer) == ["decision", "probability", "score", "threshold"]
    assert answer["decision"].tolist() == [True, False] and answer["score"][0] > answer["score"][1]
    with pytest.raises(ValueError, match="hold 2 and 1 images but must hold as many as each other"):
        toy.verify([RED, RED], [RED])


def test_predict_sends_strings_byte_for_byte_and_numbers_as_content(toy):
    strings = [b"a\0\0", b"", "ä"]
    for value in (strings, tuple(strings), np.array([b"a\0\0", b"", "ä".encode()], object)):
        answer = toy.predict("echo", {"text": value})
        assert answer["text"].tolist() == [b"a\0\0", b"", "ä".encode()] and answer["length"].tolist() == [
            3,
            0,
            2,
        ]
    assert values.to_proto("x", [["a", "b"]]).tensor_shape.dim[1].size == 2
    assert values.to_proto("x", np.ones(3, np.float32)).tensor_content
    answer = toy.predict("two", {"a": np.ones((2, 2), np.float32), "b": np.array([1, 2])})
    assert answer["row_sums"].tolist() == [2, 2] and answer["double"].dtype == np.int64
    with pytest.raises(ValueError, match="`a` cannot be sent"):
        toy.predict("two", {"a": [[1.0], [2.0, 3.0]], "b": [1]})


def test_metadata_and_status(toy, served):
    signature = toy.metadata()["two"]
    assert signature["inputs"] == {"a": ("float32", (-1, 2)), "b": ("int64", (-1,))}
    assert signature["method"] == "tensorflow/serving/predict"
    assert toy.status() == [{"version": 1, "state": "AVAILABLE", "error_code": 0, "error": ""}]
    with Client(served.address, "toy") as newest:
        assert [status["version"] for status in newest.status()] == [2, 1]
    with Client(served.address, "toy", label="stable") as stable:
        stable.wait_ready(5)
        assert stable.embed(RED).shape == (1, 3)


def test_errors_are_typed_and_say_where_what_and_why(toy, served):
    def say(error, ask, **arguments):
        with Client(served.address, **{"model": "toy", **arguments}) as asked, pytest.raises(error) as caught:
            ask(asked)
        assert caught.value.message in str(caught.value) and "\n" not in str(caught.value)
        return str(caught.value)

    where = f"Server {served.address}, model "
    assert say(client.NotFound, lambda c: c.embed(RED), model="nobody") == (
        f"{where}nobody: NOT_FOUND: Servable not found for request: Latest(nobody); {client.NotFound.remedy}."
    )
    assert f"{where}toy version 8: NOT_FOUND" in say(client.NotFound, lambda c: c.embed(RED), version=8)
    assert "label later" in say(client.NotFound, lambda c: c.embed(RED), label="later")
    text = say(client.FailedPrecondition, lambda c: c.search(RED), version=1)
    assert text == f'{where}toy version 1: FAILED_PRECONDITION: Serving signature key "search" not found.'
    assert "Unknown image file format" in say(
        client.InvalidArgument, lambda c: c.embed(b"no image"), version=1
    )
    with pytest.raises(
        client.ServingError, match="UNIMPLEMENTED: signature `echo` answers without `v`; it gives"
    ):
        toy._ask_images("echo", ("v",), text=[b"x"])


def test_a_refused_image_is_named(toy, files, monkeypatch):
    asked = []
    monkeypatch.setattr(
        toy, "predict", lambda signature, inputs: asked.append(inputs) or Client.predict(toy, signature, inputs)
    )
    bad, good = files / "bad.png", [files / "red.png", GREEN, str(files / "green.png")]

    def refused(ask, *images):
        with pytest.raises(client.InvalidArgument, match="Unknown image file format") as caught:
            ask(*images)
        assert str(caught.value).startswith(f"{caught.value.image}: Server ")
        return caught.value.image

    assert refused(toy.embed, bad) == refused(toy.embed, [str(bad)]) == str(bad)
    assert refused(toy.embed, [*good, bad, b"bad too"]) == str(bad)
    assert refused(toy.embed, [*good * 11, b"no image", bad]) == "image 34"
    asked.clear()
    assert refused(toy.embed, good * 10 + [bad]) == str(bad)
    assert [len(inputs["image_bytes"]) for inputs in asked] == [31, 1, *[1] * 31]
    assert refused(toy.verify, bad, RED) == refused(toy.verify, RED, bad) == str(bad)
    assert refused(toy.verify, [GREEN, RED], [bad, b"bad too"]) == str(bad)


def test_no_image_is_blamed_for_what_is_wrong_with_the_request(toy, served, files):
    with Client(served.address, "toy", label="stable") as labelled:
        labelled._label = "unheard of"
        for images in ([files / "red.png"], [RED, GREEN]):
            with pytest.raises(client.InvalidArgument, match="^Server .*version label: unheard of") as caught:
                labelled.embed(images)
            assert caught.value.image is None


def test_images_that_are_only_too_much_together_are_asked_singly(toy, monkeypatch):
    def predict(signature, inputs):
        if len(inputs["image_bytes"]) > 1:
            raise client.InvalidArgument("INVALID_ARGUMENT", "the images have too many pixels together")
        return Client.predict(toy, signature, inputs)

    expected = toy.embed([RED, GREEN, BLUE])
    monkeypatch.setattr(toy, "predict", predict)
    np.testing.assert_array_equal(toy.embed([RED, GREEN, BLUE]), expected)


def test_an_answer_for_another_number_of_images_is_refused(toy, monkeypatch):
    monkeypatch.setattr(toy, "predict", lambda signature, inputs: {"embedding": np.zeros((3, 2), np.float32)})
    with pytest.raises(client.ServingError, match=r"DATA_LOSS: output `embedding` has shape \[3, 2\] for 2 images"):
        toy.embed([RED, GREEN])


@pytest.fixture(scope="module")
def detector(served):
    with Client(served.address, "fake_image_detection") as detector:
        detector.wait_ready(20)
        yield detector


def test_detect_and_fake_map(detector, files):
    answer = detector.detect([files / "red.png", GREEN])
    assert {name: value.tolist() for name, value in answer.items() if name != "probability"} == {
        "score": [1, 0], "decision": [True, False], "threshold": [0.25, 0.25]}  # fmt: skip
    maps = detector.fake_map([RED] + [GREEN] * 32)
    assert maps.shape == (33, 6, 8) and maps.dtype == np.float32
    assert maps[0].min() == 1 and maps[1:].max() == 0
    np.testing.assert_array_equal(detector.fake_map(files / "red.png"), maps[:1])


def answering(monkeypatch, client, **outputs):
    """The server says this for every request."""
    monkeypatch.setattr(client, "predict", lambda signature, inputs: outputs)


@pytest.mark.parametrize("value, told", [
    (np.full((2, 3), 0.5, np.float32), "output `map` is float32 [2, 3] but must be float32 [n, H, W]"),
    (np.zeros((2, 0, 3), np.float32), "output `map` is float32 [2, 0, 3] but must be float32 [n, H, W]"),
    (np.zeros((2, 3, 3, 1), np.float32), "output `map` is float32 [2, 3, 3, 1] but must be float32 [n, H, W]"),
    (np.zeros((2, 3, 3), np.int64), "output `map` is int64 [2, 3, 3] but must be float32 [n, H, W]"),
    (np.full((2, 3, 3), b"x", object), "output `map` is string [2, 3, 3] but must be float32 [n, H, W]"),
    (np.zeros((3, 3, 3), np.float32), "output `map` has shape [3, 3, 3] for 2 images"),
    (np.array([[[0.5]], [[np.nan]]]), "output `map` holds values from nan to nan but must lie in [0, 1]"),
    (np.array([[[0.5]], [[np.inf]]]), "output `map` holds values from inf to inf but must lie in [0, 1]"),
    (np.array([[[0.5, 1]], [[-2, 3.5]]]), "output `map` holds values from -2 to 3.5 but must lie in [0, 1]"),
])  # fmt: skip
def test_a_map_that_is_none_is_refused(value, told, detector, monkeypatch):
    answering(monkeypatch, detector, map=value)
    with pytest.raises(client.ServingError) as caught:
        detector.fake_map([RED, GREEN])
    assert str(caught.value).endswith(f"DATA_LOSS: {told}.")
    assert caught.value.image == ("image 2" if "values" in told else None)


def test_maps_of_different_sizes_are_refused_and_rounding_is_not(detector, monkeypatch):
    monkeypatch.setattr(detector, "predict", lambda signature, inputs: {
        "map": np.zeros((len(inputs["image_bytes"]), len(inputs["image_bytes"]), 2), np.float32)})  # fmt: skip
    with pytest.raises(client.ServingError, match=r"has shape \[32, 32, 2\] in one answer but \[1, 1, 2\] in another"):
        detector.fake_map([RED] * 33)
    answering(monkeypatch, detector, map=np.array([[[-1e-4, 1.0001]]]))
    assert detector.fake_map(RED).tolist() == [[[0, 1]]]


def test_a_decision_that_is_none_is_refused(detector, monkeypatch):
    fine = {"score": np.zeros(1, np.float32), "probability": np.zeros(1, np.float32), "decision": np.zeros(1, bool)}
    for odd, told in (({"score": np.zeros((1, 2), np.float32)}, "`score` is float32 [1, 2] but must be float32 [n]"),
                      ({"decision": np.array([b"fake"], object)}, "`decision` is string [1] but must be bool [n]")):
        answering(monkeypatch, detector, **{**fine, "threshold": fine["score"], **odd})
        with pytest.raises(client.ServingError) as caught:
            detector.detect(RED)
        assert f"DATA_LOSS: output {told}." in str(caught.value)


@pytest.fixture(scope="module")
def generators(served):
    with Client(served.address, "image_generation") as plain, Client(served.address, "classes") as of_classes:
        plain.wait_ready(20)
        of_classes.wait_ready(20)
        yield plain, of_classes


def test_generate_counts_seeds_up_and_sends_32_a_request(generators, monkeypatch):
    plain, of_classes = generators
    asked = []
    monkeypatch.setattr(
        plain, "predict", lambda signature, inputs: asked.append(inputs) or Client.predict(plain, signature, inputs)
    )
    images = plain.generate(70, seed=5)
    assert [inputs["seed"].tolist() for inputs in asked] == [[*range(5, 37)], [*range(37, 69)], [*range(69, 75)]]
    assert asked[0]["seed"].dtype == np.int64 and all(isinstance(image, bytes) for image in images)
    assert {png_size(image) for image in images} == {(28, 20)} and len(set(images)) == 70
    assert plain.generate(1, seed=40) == images[35:36]
    assert plain.generate(1, seed=2**63 - 2)
    dark, bright = of_classes.generate(1, label=0), of_classes.generate(1, label=2)
    assert dark != bright and png_size(dark[0]) == (28, 20)


def test_what_cannot_be_generated_is_one_sentence(generators, toy):
    plain, of_classes = generators
    for asked, arguments, told in (
        (plain, {"count": 0}, "`count` is 0 but must be at least 1."),
        (plain, {"count": 1, "seed": -1}, "`seed` is -1 but must lie between 0 and"),
        (plain, {"count": 2, "seed": 2**63 - 2}, "but must lie between 0 and 9,223,372,036,854,775,805 for 2 images."),
        (plain, {"count": 1, "label": 1}, "`label` is 1 but model image_generation knows no classes; leave it away"),
        (of_classes, {"count": 1}, "`label` is missing but model classes makes images of a class; give the index of"),
        (of_classes, {"count": 1, "label": -1}, "`label` is -1 but must be the index of a class, 0 or more"),
        (of_classes, {"count": 1, "label": 2**31}, "`label` is 2147483648 but must be the index of a class"),
    ):
        with pytest.raises(ValueError) as caught:
            asked.generate(**arguments)
        assert told in str(caught.value)
    with pytest.raises(client.InvalidArgument, match="not below 3 classes"):
        of_classes.generate(1, label=3)
    with pytest.raises(client.FailedPrecondition, match='signature key "generate" not found'):
        toy.generate(1)


def test_generated_bytes_that_are_no_png_are_refused(generators, monkeypatch):
    monkeypatch.setattr(questions, "IMAGE_BYTES", len(RED))
    for image in (b"", RED[:20], b"GIF89a" + RED, RED[:16] + bytes(8) + RED[24:], RED + b"0"):
        answering(monkeypatch, generators[0], image_bytes=np.array([RED, image], object))
        with pytest.raises(client.ServingError, match=rf"holds {len(image)} bytes for seed 8 but must hold a PNG"):
            generators[0].generate(2, seed=7)
    for value, told in ((np.zeros((2, 4), np.float32), r"is float32 \[2, 4\] but must be string \[n\]"),
                        (np.array([RED], object), r"has shape \[1\] for 2 images")):
        answering(monkeypatch, generators[0], image_bytes=value)
        with pytest.raises(client.ServingError, match=f"DATA_LOSS: output `image_bytes` {told}"):
            generators[0].generate(2)


@pytest.fixture(scope="module")
def restorer(served):
    with Client(served.address, "super_resolution") as restorer:
        restorer.wait_ready(20)
        yield restorer


@pytest.fixture()
def asked(restorer, monkeypatch):
    """The requests that the restorer is sent."""
    asked = []
    monkeypatch.setattr(restorer, "predict", lambda signature, inputs: (
        asked.append(inputs) or Client.predict(restorer, signature, inputs)))  # fmt: skip
    return asked


def encoded(kind, height, width):
    stream = io.BytesIO()
    Image.new("RGB", (width, height), (200, 100, 0)).save(stream, kind)
    return stream.getvalue()


def test_restore_takes_paths_bytes_one_or_many(restorer, asked, files):
    made = restorer.restore([files / "red.png", str(files / "green.png"), encoded("JPEG", 5, 7)])
    assert [png_size(image) for image in made] == [(16, 16), (16, 16), (20, 28)]
    with Image.open(io.BytesIO(made[1])) as opened:
        assert np.unique(np.asarray(opened).reshape(-1, 3), axis=0).tolist() == [[0, 255, 0]]
    (request,) = asked
    assert request["scale"].dtype == np.int32 and request["scale"].tolist() == [0, 0, 0], "its own"
    assert restorer.restore(GREEN) == made[1:2]
    assert [png_size(image) for image in restorer.restore(files / "red.png", np.int64(2))] == [(8, 8)]


def test_what_is_restored_is_turned_as_the_photo_is(restorer, asked):
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = io.BytesIO()
    Image.new("RGB", (9, 5)).save(sideways, "JPEG", exif=exif)
    upright, turned = restorer.restore([RED, sideways.getvalue()], 2)
    assert png_size(turned) == (10, 18), "as it is stored"
    assert [Image.open(io.BytesIO(made)).getexif().get(0x0112) for made in (upright, turned)] == [None, 6]


def test_few_images_are_restored_together(restorer, asked, monkeypatch):
    sizes = [png_size(image) for image in restorer.restore([RED] * 20 + [BLUE], scale=1)]
    assert sizes == [(4, 4)] * 21 and [len(request["scale"]) for request in asked] == [16, 5]
    asked.clear()
    restorer.restore([RED, encoded("GIF", 3, 5), RED, RED], 2)
    assert [len(request["scale"]) for request in asked] == [1, 1, 2], "how large a GIF is, decoders do not agree on"
    for bound, value in (("RESTORE_PIXELS", 2 * 8 * 8), ("RESTORE_BYTES", 2 * len(RED))):
        monkeypatch.setattr(questions, bound, value)
        asked.clear()
        restorer.restore([RED] * 5, 2)
        assert [len(request["scale"]) for request in asked] == [2, 2, 1], bound
        asked.clear()
        restorer.restore([RED, png(9, 9, 9, size=40), RED], 2)
        assert [len(request["scale"]) for request in asked] == [1, 1, 1], bound


@pytest.mark.parametrize("kind, size", [
    ("PNG", (3, 5)), ("JPEG", (3, 5)), ("BMP", (3, 5)), ("GIF", None), ("WEBP", None), ("TIFF", None),
])  # fmt: skip
def test_the_size_of_an_image_is_that_of_its_head(kind, size):
    data = encoded(kind, 3, 5)
    assert image_size(data) == size
    assert [image_size(data[:cut]) for cut in (0, 2, 10)] == [None] * 3


@pytest.mark.parametrize("scale", [0, -4, 2.0, 1.5, "4", True, 2**31])
def test_a_scale_that_is_none_is_refused_before_anything_is_asked(scale, restorer, asked):
    for ask in (restorer.restore, restorer.restore_each):
        with pytest.raises(ValueError) as caught:
            ask(RED, scale)
        assert str(caught.value) == f"`scale` is {scale!r} but must be a whole number of at least 1, such as 4."
    with pytest.raises(ValueError, match="No image to restore"):
        restorer.restore([])
    assert not asked


def test_the_server_says_which_scales_it_knows_and_no_image_is_blamed(restorer, files):
    for images in (RED, [RED, BLUE], [files / "bad.png", BLUE], [files / "bad.png"]):
        with pytest.raises(client.InvalidArgument, match="^Server .*`scale` is 3 but must be 1, 2 or 4") as caught:
            restorer.restore(images, 3)
        assert caught.value.image is None


def test_an_image_that_cannot_be_restored_is_named_and_spoils_no_other(restorer, files):
    images = [RED, files / "bad.png", files / "empty.png", files / "gone.png", GREEN, b"no image"]
    answers = list(restorer.restore_each(images))
    assert [image for image, _ in answers] == images
    assert [answer for _, answer in answers if isinstance(answer, bytes)] == restorer.restore([RED, GREEN])
    refused, empty, gone, last = (answer for _, answer in answers if isinstance(answer, Exception))
    assert refused.image == str(files / "bad.png") and last.image == "image 6"
    assert str(refused).startswith(f"{files / 'bad.png'}: Server ") and "Unknown image file format" in str(refused)
    assert isinstance(empty, ValueError) and "empty.png` is empty" in str(empty)
    assert isinstance(gone, FileNotFoundError) and "gone.png" in str(gone)
    for place, error in ((1, client.InvalidArgument), (2, ValueError), (3, FileNotFoundError)):
        with pytest.raises(error, match=images[place].name):
            restorer.restore([RED, images[place], GREEN])
    assert [type(answer) for _, answer in restorer.restore_each(images[2:4])] == [ValueError, FileNotFoundError]


def test_a_refusal_that_a_fine_image_would_get_as_well_is_of_the_image_where_others_are_restored(
    restorer, files, monkeypatch
):
    cut = files / "cut.png"
    cut.write_bytes(RED[:40])
    monkeypatch.setattr(questions, "fine_image", lambda: RED[:40])
    answers = [answer for _, answer in restorer.restore_each([cut, RED, RED[:40]])]
    assert [getattr(answer, "image", None) for answer in answers] == [str(cut), None, "image 3"]
    monkeypatch.setattr(questions, "RESTORE_IMAGES", 1)
    assert list(restorer.restore_each([RED, cut]))[1][1].image == str(cut)
    with pytest.raises(client.InvalidArgument, match="^Server ") as caught:
        restorer.restore([cut, RED])
    assert caught.value.image is None, "nothing was restored before"


@pytest.mark.parametrize("source, answer, told", [
    (RED, RED[:20], "holds 20 bytes but must hold a PNG"),
    (RED, b"GIF89a" + RED, f"holds {len(RED) + 6} bytes but must hold a PNG"),
    (RED, png(255, 0, 0, size=8), "holds a PNG of 8 x 8 (height x width) but must hold one of 16 x 16, 4 times 4 x 4"),
    (encoded("JPEG", 2, 4), RED, "holds a PNG of 4 x 4 (height x width) but must hold one of 8 x 16, 4 times 2 x 4"),
])  # fmt: skip
def test_a_restored_image_that_is_none_is_refused(source, answer, told, restorer, monkeypatch):
    fine = png(255, 0, 0, size=16)
    answering(monkeypatch, restorer, image_bytes=np.array([fine, answer], object))
    with pytest.raises(client.ServingError) as caught:
        restorer.restore([RED, source], 4)
    assert caught.value.image == "image 2" and str(caught.value).endswith(f"DATA_LOSS: output `image_bytes` {told}.")
    assert [answer for _, answer in restorer.restore_each([RED, source], 4)][0] == fine


def test_by_the_models_own_scale_both_sides_grow_alike(restorer, monkeypatch):
    for wide, told in ((8, None), (12, "holds a PNG of 8 x 12 .* but must hold one of 8 x 8, 2 times 4 x 4")):
        made = encoded("PNG", 8, wide)
        answering(monkeypatch, restorer, image_bytes=np.array([made], object))
        if told is None:
            assert restorer.restore(RED) == [made]
        else:
            with pytest.raises(client.ServingError, match=told):
                restorer.restore(RED)


def test_an_answer_of_another_kind_is_refused(restorer, monkeypatch):
    for value, told in ((np.zeros((2, 4), np.float32), r"is float32 \[2, 4\] but must be string \[n\]"),
                        (np.array([RED], object), r"has shape \[1\] for 2 images")):
        answering(monkeypatch, restorer, image_bytes=value)
        with pytest.raises(client.ServingError, match=f"DATA_LOSS: output `image_bytes` {told}") as caught:
            restorer.restore([RED, RED])
        assert caught.value.image is None


def test_an_image_too_large_for_the_server_spoils_no_other(restorer, monkeypatch):
    def predict(signature, inputs):
        if len(inputs["image_bytes"][0]) > len(RED):
            raise client.ServingError("RESOURCE_EXHAUSTED", "Sent message larger than max")
        return Client.predict(restorer, signature, inputs)

    monkeypatch.setattr(restorer, "predict", predict)
    monkeypatch.setattr(questions, "RESTORE_IMAGES", 1)
    answers = [answer for _, answer in restorer.restore_each([RED, png(0, 0, 0, size=64), RED])]
    assert answers[0] == answers[2] == png(255, 0, 0, size=16)
    assert str(answers[1]) == "image 2: RESOURCE_EXHAUSTED: Sent message larger than max."
    monkeypatch.setattr(questions, "RESTORE_IMAGES", 16)
    with pytest.raises(client.ServingError, match="^RESOURCE_EXHAUSTED"):
        restorer.restore([png(0, 0, 0, size=64), RED])


def test_restore_is_waited_for_longer_unless_told(served, monkeypatch):
    waited = []
    call = Client._call
    monkeypatch.setattr(Client, "_call", lambda self, method, request, timeout=None: (
        waited.append(timeout or self._timeout) or call(self, method, request, timeout)))  # fmt: skip
    for timeout in (None, 7.0):
        with Client(served.address, "super_resolution", timeout) as asked:
            asked.restore(RED)
    with Client(served.address, "toy", version=1) as asked:
        asked.embed(RED)
    assert waited == [client.RESTORE_SECONDS, 7, client.SECONDS] and waited[0] >= 600


def test_unreachable_and_deadline(served, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        with Client(f"127.0.0.1:{taken.getsockname()[1]}", timeout=5) as nobody:
            with pytest.raises(client.Unavailable, match="start it with `python -m serving.server`"):
                nobody.embed(RED)
            with pytest.raises(
                client.DeadlineExceeded, match="not ready after 0.5 s, last answer: UNAVAILABLE"
            ):
                nobody.wait_ready(0.5)
    with Client(served.address, "toy", timeout=0.3, version=1) as hasty:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            answer = pool.submit(hasty.predict, "slow", {"file": str(tmp_path / "never")})
            with pytest.raises(client.DeadlineExceeded, match="allow more time"):
                answer.result()
        (tmp_path / "never").touch()  # lets the server's thread go
        assert until(lambda: hasty.embed(RED).shape == (1, 3))
    with Client(served.address, "toy", version=9) as absent:
        with pytest.raises(client.DeadlineExceeded, match="last answer: NOT_FOUND: Could not find version 9"):
            absent.wait_ready(0.3)


@pytest.mark.parametrize(
    "states, error",
    [
        (["START", "LOADING", "AVAILABLE"], None),
        (["LOADING", "LOADING", "AVAILABLE"], None),
        (["END"], "NOT_FOUND: no version can be asked: version 1 is END the graph is damaged; check"),
        ([None], "NOT_FOUND: Could not find any versions of model verification; check the name"),
        ([None, "LOADING", "AVAILABLE"], None),  # as for a model that was written a moment ago
        ([None, "LOADING", None, "AVAILABLE"], None),  # as from a server that was started again
    ],
)
def test_a_model_that_a_running_server_does_not_load_is_not_waited_for(states, error, monkeypatch):
    monkeypatch.setattr(client, "POLL_SECONDS", 0.2)
    asked = []

    def statuses(self, request, timeout):
        asked.append(states[min(len(asked), len(states) - 1)])
        if asked[-1] is None:
            raise client.NotFound("NOT_FOUND", "Could not find any versions of model verification")
        said = "the graph is damaged" if asked[-1] == "END" else ""
        return [{"version": 1, "state": asked[-1], "error_code": 2 * bool(said), "error": said}]

    monkeypatch.setattr(Client, "_statuses", statuses)
    with Client() as waiting:
        if error is None:
            # Half of the pause: a wait for LOADING that ended like one for an absent model would show.
            waiting.wait_ready(20, absent=0.3 if states[0] is None else 0.1)
            assert asked == states
        else:
            with pytest.raises(client.NotFound, match=error):
                waiting.wait_ready(20, absent=0.3)
            assert 2 <= len(asked) <= 4


@pytest.mark.parametrize("content", [True, False])
def test_either_form_of_output_is_read(content):
    x = np.array([[1.5, -2.0]], np.float32)
    proto = tensor_pb2.TensorProto(
        dtype=1,
        tensor_shape={"dim": [{"size": 1}, {"size": 2}]},
        **({"tensor_content": x.tobytes()} if content else {"float_val": x.ravel()}),
    )

    class Fixed(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):  # noqa: N802
            return predict_pb2.PredictResponse(outputs={"embedding": proto})

    peer = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Fixed(), peer)
    port = peer.add_insecure_port("127.0.0.1:0")
    peer.start()
    with Client(f"127.0.0.1:{port}") as asked:
        np.testing.assert_array_equal(asked.embed(RED), x)
    peer.stop(0)


def test_bad_arguments_and_files(toy, files, monkeypatch):
    with pytest.raises(ValueError, match="`timeout` is 0 but"):
        Client(timeout=0)
    with pytest.raises(ValueError, match="only one of them"):
        Client(version=1, label="a")
    with pytest.raises(ValueError, match="No image to embed"):
        toy.embed([])
    with pytest.raises(FileNotFoundError, match="absent.png"):
        toy.embed(files / "absent.png")
    with pytest.raises(ValueError, match="empty.png` is empty"):
        toy.embed(files / "empty.png")
    monkeypatch.setattr(signatures, "IMAGE_BYTES", 3)
    with pytest.raises(ValueError, match=r"red.png` has \d+ bytes but at most 3 are sent; use a smaller"):
        toy.embed(files / "red.png")


# ---- Command ----


def test_importing_the_commands_defines_no_flags():
    assert serving.server and serving.gallery
    assert not {"server", "port", "gallery"} & set(flags.FLAGS)


def test_embed_as_a_process(served, files):
    code, out, error = run_process(
        "serving.client",
        "embed",
        files / "red.png",
        files / "green.png",
        f"--server={served.address}",
        "--model=toy",
        "--version=1",
        "--json",
        f"--out={files / 'v.npz'}",
    )
    assert code == 0, error
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["image"] for row in rows] == [str(files / "red.png"), str(files / "green.png")]
    with np.load(files / "v.npz") as saved:
        np.testing.assert_allclose(saved["embeddings"], [row["embedding"] for row in rows], rtol=1e-6)
        assert saved["images"].tolist() == [row["image"] for row in rows]
    assert error == f"2 embeddings of 3 numbers written to {files / 'v.npz'}\n"
    assert sorted(path.name for path in files.iterdir() if "npz" in path.name) == ["v.npz"]


@pytest.fixture()
def crops(tmp_path):
    """Two cars, seen by two cameras."""
    for name, colour in (("car_1_cam1", (9, 0, 0)), ("car_1_cam2", (8, 1, 0)), ("car_2_cam1", (0, 9, 0)),
                         ("car_2_cam2", (0, 8, 1))):  # fmt: skip
        (tmp_path / f"{name}_7.png").write_bytes(png(*colour))
    return sorted(tmp_path.glob("*.png"))


@pytest.mark.parametrize("name", ["embed", "ask"])
def test_a_pattern_writes_what_an_evaluation_reads(name, served, crops, toy, tmp_path, capsys):
    here = (f"--server={served.address}", "--model=toy", "--version=1", f"--out={tmp_path / 'x.npz'}")
    pattern = r"--pattern=(?P<identity>car_\d)_cam(?P<camera>\d)_(?P<track>\d)"
    code, out, error = run_here(client, capsys, name, *crops, *here, pattern)
    assert (code, out) == (0, ""), error
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        np.testing.assert_array_equal(found["embeddings"], getattr(toy, name)(crops))
        facts = {key: found[key].tolist() for key in ("images", "identities", "cameras", "tracks")}
        assert all(found[key].dtype.kind == "U" for key in facts)
    assert facts == {"images": list(map(str, crops)), "identities": ["car_1", "car_1", "car_2", "car_2"],
                     "cameras": ["1", "2", "1", "2"], "tracks": ["7"] * 4}  # fmt: skip
    code, _, error = run_here(client, capsys, name, *crops, *here, r"--pattern=(?P<label>car)_")
    assert code == 0, error
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        assert found["identities"].tolist() == ["car"] * 4 and not {"cameras", "tracks"} & set(found)


@pytest.mark.parametrize("pattern, told", [
    (r"(?P<identity>car_\d)_cam2", "finds no identity in `{0}`, the path as it is typed; correct the pattern or leave"),
    (r"(?P<identity>car_1|)_cam", "finds no identity in `{2}`, the path as it is typed;"),
    (r"(?P<identity>car_\d)_cam(?P<camera>1)?", "finds no camera in `{1}`, the path as it is typed;"),
    (r"(?P<identity>car_\d)_(?P<track>cam)?\d_8", "finds no identity in `{0}`"),
])  # fmt: skip
def test_a_path_that_does_not_match_is_refused_before_anything_is_asked(pattern, told, crops, tmp_path, capsys):
    words = ("embed", *crops, f"--server=127.0.0.1:{free_port()}", f"--out={tmp_path / 'x.npz'}")
    code, out, error = run_here(client, capsys, *words, f"--pattern={pattern}")
    assert (code, out, error.count("\n")) == (1, "", 1) and error.startswith(f"error: `--pattern` is {pattern} but")
    assert told.format(*crops) in error and not (tmp_path / "x.npz").exists()


def test_the_pattern_is_that_of_the_gallery_command(crops, tmp_path, capsys):
    for pattern in ("(?P<identity>", "(?P<camera>.)", "(?P<identity>.)(?P<colour>.)", "car"):
        with pytest.raises(ValueError) as refused:
            gallery.folder_entries(tmp_path, pattern)
        for words in (("embed", "--out=v.npz"), ("search", "--out=s.png")):
            code, _, error = run_here(client, capsys, words[0], crops[0], words[1], f"--pattern={pattern}", "--wait=0")
            assert (code, error) == (1, f"error: {refused.value}\n")


def test_a_sheet_without_a_frame_says_why(crops, tmp_path, capsys, monkeypatch):
    found = {"identities": [["car_1"]], "scores": [[0.5]], "entries": [["car_1/0.png"]], "unknown": [False]}
    monkeypatch.setattr(Client, "search", lambda self, images: {
        name: np.array(rows * len(images)) for name, rows in found.items()})  # fmt: skip
    words = ("search", *crops[1:], "--wait=0", f"--out={tmp_path / 's.png'}")
    code, out, error = run_here(client, capsys, *words, "--pattern=^(?P<identity>car_.)")
    assert code == 0 and error.splitlines()[0] == (
        f"`--pattern` finds no identity in any of the 3 paths as they are typed, such as {crops[1]}, so no answer is "
        "framed"
    )
    assert "right" not in error
    code, out, error = run_here(client, capsys, *words, "--pattern=(?P<identity>car_1)")
    assert code == 0 and "finds no identity" not in error and "; 1 of 1 first answers right" in error


def test_tables_and_json(served, files, capsys):
    here = (f"--server={served.address}", "--model=toy", "--version=1")
    code, out, _ = run_here(client, capsys, "embed", files / "red.png", *here)
    assert code == 0 and "red.png" in out and "1.0000" in out
    assert out.startswith("1 embedding of 3 numbers [1, 3]; ") and "0.004" in out and "..." not in out
    code, out, _ = run_here(client, capsys, *here, "verify", files / "red.png", files / "green.png")
    assert code == 0 and "different" in out and "0.9000" in out
    assert "`decision` decides: same where score >= threshold" in out and "at equal odds" in out
    code, out, _ = run_here(client, capsys, "verify", files / "red.png", files / "red.png", "--json", *here)
    row = json.loads(out)
    assert row["decision"] is True and row["first"] == row["second"] and row["score"] == pytest.approx(1.0)


def test_the_command_waits_for_the_server_and_for_the_model(served, files, capsys, monkeypatch):
    monkeypatch.setattr(client_command, "QUIET_SECONDS", 0.3)
    relay, port = grpc.server(concurrent.futures.ThreadPoolExecutor(2)), free_port()
    answering = threading.Event()
    add_relay(relay, served.address, answering)

    def begin():
        assert relay.add_insecure_port(f"127.0.0.1:{port}") == port
        relay.start()

    timers = [threading.Timer(0.8, begin), threading.Timer(1.6, answering.set)]
    for timer in timers:
        timer.start()
    here = (f"--server=127.0.0.1:{port}", "--model=toy", "--version=1", "--json")
    try:
        code, out, error = run_here(client, capsys, "embed", files / "red.png", *here, "--wait=20")
    finally:
        for timer in timers:
            timer.join()
        relay.stop(0)
    assert code == 0 and len(json.loads(out)["embedding"]) == 3, error
    assert error.count("\n") == 1
    assert error.startswith(f"waiting for model toy on 127.0.0.1:{port}, up to 20 s (UNAVAILABLE: ")


def test_errors_after_the_wait_are_those_of_the_question(served, files, capsys):
    arguments = ("embed", files / "red.png", f"--server={served.address}", "--model=nobody")
    for wait in ("0", "0.5"):
        began = time.monotonic()
        code, out, error = run_here(client, capsys, *arguments, f"--wait={wait}")
        assert (code, out, error.count("\n")) == (1, "", 1)
        assert "NOT_FOUND: Servable not found for request: Latest(nobody)" in error
        assert time.monotonic() - began >= float(wait) - 0.3
    nowhere = (*arguments[:2], f"--server=127.0.0.1:{free_port()}")
    code, out, error = run_here(client, capsys, *nowhere, "--wait=0.5")
    assert code == 1 and error.startswith("error: ") and "start it with `python -m serving.server`" in error


def test_a_typo_in_the_model_is_told_soon_and_search_asks_for_a_gallery(served, files, capsys):
    began = time.monotonic()
    arguments = (files / "red.png", f"--server={served.address}")
    code, out, error = run_here(client, capsys, "embed", *arguments, "--model=toi")
    assert (code, out, error.count("\n")) == (1, "", 1) and time.monotonic() - began < 10, "of --wait=30"
    assert error.endswith(f"NOT_FOUND: Could not find any versions of model toi; {client.NotFound.remedy}.\n")
    for signature, model in (("search", "gallery"), ("embed", "verification")):
        code, out, error = run_here(client, capsys, signature, *arguments, "--wait=0")
        assert code == 1 and f"model {model}: NOT_FOUND: Servable not found for request: Latest({model})" in error


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def add_relay(peer, address, answering):
    """Passes questions on to a server; until `answering` is set, its model is unknown."""
    channel = grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])

    class Relay(grpc.GenericRpcHandler):
        def service(self, details):
            def pass_on(request, context):
                if not answering.is_set():
                    context.abort(grpc.StatusCode.NOT_FOUND, "Could not find any versions of model toy")
                return channel.unary_unary(details.method)(request, timeout=5)

            return grpc.unary_unary_rpc_method_handler(pass_on)

    peer.add_generic_rpc_handlers((Relay(),))


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["embed", "{red}", "--model=nobody"], "NOT_FOUND: Servable not found for request: Latest(nobody)"),
        (["search", "{red}"], 'Serving signature key "search" not found.'),
        (["embed", "{red}", "{bad}"], "INVALID_ARGUMENT: Unknown image file format"),
        (["embed", "{red}", "{bad}"], "error: {bad}: Server "),
        (["verify", "{bad}", "{red}"], "error: {bad}: Server "),
        (["embed", "{red}", "{empty}"], "`{empty}` is empty; give the bytes"),
        (["embed", "{red}", "--out=/nonexist/v.npz"], "`--out` is /nonexist/v.npz but there is no folder `/nonexist`"),
        (["search", "{red}", "--out=/nonexist/s.png"], "`--out` is /nonexist/s.png but there is no folder `/nonexist`"),
        (["search", "{red}", "--out=sheet.jpg"], "`--out` is sheet.jpg but must end in .png."),
        (["search", "{red}", "--images=photos"], "only a sheet shows images; give --out=FILE.png as well."),
        (["search", "{red}", "--out=s.png", "--images={red}"], "must be the folder that the gallery was built from;"),
        (["embed", "{red}", "--images=photos"], "`--images` belongs to search; leave it away for embed."),
        (["search", "{red}", "--pattern=(?P<identity>r)"], "only a sheet frames answers; give --out=FILE.png as well."),
        (["search", "{red}", "--out=s.png", "--pattern=(?P<identity>"], "is not a regular expression"),
        (["search", "{red}", "--out=s.png", "--pattern=(?P<camera>r)"], "neither a group `identity` nor a group `lab"),
        (["ask", "{red}", "--pattern=(?P<identity>r)"], "only a file holds identities; give --out=FILE.npz as well."),
        (["verify", "{red}", "{red}", "--pattern=(?P<identity>r)"], "`--pattern` belongs to embed and ask and search;"),
        (["ask", "{red}", "{bad}"], "error: {bad}: Server "),
        (["ask", "{red}", "--out=v.png"], "`--out` is v.png but must end in .npz."),
        (["ask"], "No image to ask; give at least one path."),
        (["embed", "{gone}"], "is not a file; check the path."),
        (["verify", "{red}"], "`verify` got 1 images but compares exactly 2."),
        (["embed"], "No image to embed; give at least one path."),
        (["paint", "{red}"], "`paint` is not a command; use one of embed, ask, verify, search"),
        (["verify", "{red}", "{red}", "--out=v.npz"], "`--out` belongs to embed"),
        (["embed", "{red}", "--out=v.csv"], "must end in .npz"),
    ],
)
def test_command_errors_are_one_sentence(served, files, capsys, arguments, text):
    names = {name: files / f"{name}.png" for name in ("red", "bad", "empty", "gone")}
    text = text.format(**names)
    arguments = [argument.format(**names) for argument in arguments]
    if not any("--model" in argument for argument in arguments):
        arguments += ["--model=toy", "--version=1"]
    arguments += ["--wait=0"]
    code, out, error = run_here(client, capsys, *arguments, f"--server={served.address}")
    assert (code, out, error.count("\n")) == (1, "", 1) and error.startswith("error: ") and text in error
