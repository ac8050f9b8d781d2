"""The asynchronous client against a server process and against servers that fail as they are told."""

import asyncio
import contextlib
import inspect
import itertools
import threading

import grpc
import numpy as np
import pytest

from serving import aio, channel, client, questions
from serving.aio import AsyncClient, AsyncConnection
from serving.client import Client
from tests.serving import certificates
from tests.serving.fakes import Failing, Relay, serving, three_and_no_fourth
from tests.serving.toys import png

RED, GREEN, BLUE = png(255, 0, 0), png(0, 255, 0), png(0, 0, 255)
GONE = grpc.StatusCode.UNAVAILABLE, "the server goes down"


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(channel, "FIRST_PAUSE", 0.002)


def run(address, ask, model="toy", **settings):
    """What `ask(client)` gives, in an event loop of its own."""

    async def main():
        async with AsyncClient(address, model, **settings) as asked:
            return await ask(asked)

    return asyncio.run(asyncio.wait_for(main(), 30))


def same(answer, expected):
    assert set(answer) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(answer[name], value)


def test_it_answers_as_the_other_client_does(served, tmp_path):
    (tmp_path / "red.png").write_bytes(RED)
    images = [tmp_path / "red.png", GREEN, BLUE] * 25  # more than two requests

    async def ask(asked):
        await asked.wait_ready(20)
        return await asyncio.gather(
            asked.embed(images), asked.ask(images), asked.verify(images, images[::-1]), asked.embed(GREEN),
            asked.predict("echo", {"text": [b"a\0", b""]}), asked.metadata(), asked.status()
        )  # fmt: skip

    vectors, asking, verified, one, echo, metadata, status = run(served.address, ask, version=1)
    with Client(served.address, "toy", version=1) as other:
        np.testing.assert_array_equal(vectors, other.embed(images))
        np.testing.assert_array_equal(asking, other.ask(images))
        same(verified, other.verify(images, images[::-1]))
        np.testing.assert_array_equal(one, vectors[1:2])
        assert echo["text"].tolist() == [b"a\0", b""] and metadata == other.metadata() and status == other.status()


def test_it_classifies_and_detects_as_the_other_client_does(served):
    images = [RED, GREEN, BLUE] * 20
    for model, name in (("small_sample_diagnosis", "classify"), ("fake_image_detection", "detect")):
        answer = run(served.address, lambda asked, name=name: getattr(asked, name)(images), model)
        with Client(served.address, model) as other:
            same(answer, getattr(other, name)(images))


def test_it_has_the_methods_of_the_other_client():
    public = {name for name in dir(Client) if not name.startswith("_")}
    assert public - set(dir(AsyncClient)) == {"asking"}, "which threads call"
    for name in public & set(dir(AsyncClient)):
        one, other = (inspect.signature(getattr(kind, name)) for kind in (Client, AsyncClient))
        assert str(one) == str(other), name


def test_it_explains_generates_and_restores_as_the_other_client_does(served):
    images = [RED, GREEN, BLUE] * 15
    for model, name, words in (
        ("fake_image_detection", "fake_map", [images]), ("small_sample_diagnosis", "explain", [images]),
        ("image_generation", "generate", [70, 5]), ("classes", "generate", [3, 0, 2]),
        ("super_resolution", "restore", [images]), ("super_resolution", "restore", [images[:3], 2]),
        ("toy", "served_version", []),
    ):  # fmt: skip
        answer = run(served.address, lambda asked, name=name, words=words: getattr(asked, name)(*words), model)
        with Client(served.address, model) as other:
            np.testing.assert_array_equal(answer, getattr(other, name)(*words))


def test_what_it_cannot_do_is_told_as_by_the_other_client(served, monkeypatch):
    for model, ask, error, told in (
        ("toy", lambda asked: asked.ask(RED), client.FailedPrecondition, "images ask by its `embed`"),
        ("toy", lambda asked: asked.explain(RED), client.FailedPrecondition, "no signature `explain`; it has"),
        ("toy", lambda asked: asked.require("paint"), client.FailedPrecondition, "no signature `paint`; it has"),
        ("classes", lambda asked: asked.generate(1), ValueError, "`label` is missing but model classes"),
        ("classes", lambda asked: asked.generate(0), ValueError, "`count` is 0 but must be at least 1"),
        ("super_resolution", lambda asked: asked.restore(RED, 3), client.InvalidArgument, "must be 1, 2 or 4"),
        ("super_resolution", lambda asked: asked.restore([]), ValueError, "No image to restore"),
    ):
        with pytest.raises(error, match=told):
            run(served.address, ask, model, version=2 if model == "toy" else None)
    monkeypatch.setattr(questions, "share_fault", lambda *_: "output `map` holds none")
    with pytest.raises(client.ServingError, match="output `map` holds none") as caught:
        run(served.address, lambda asked: asked.fake_map([RED]), "fake_image_detection")
    assert caught.value.image == "image 1"


def test_one_image_spoils_no_other(served, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    images = [RED] * 40 + [tmp_path / "bad.png", tmp_path / "absent.png"] + [GREEN] * 40

    def each(model, ask):
        async def main(asked):
            return [pair async for pair in ask(asked)]

        found = run(served.address, main, model)
        assert [image for image, _ in found] == images
        failed = [answer for _, answer in found if isinstance(answer, Exception)]
        assert [type(one) for one in failed] == [client.InvalidArgument, FileNotFoundError]
        assert failed[0].image == str(tmp_path / "bad.png")
        return [answer for _, answer in found if not isinstance(answer, Exception)]

    def rows(pairs):
        return [answer for _, answer in pairs if not isinstance(answer, Exception)]

    with Client(served.address, "small_sample_diagnosis") as other:
        for one, expected in zip(each("small_sample_diagnosis", lambda asked: asked.classify_each(images)),
                                 rows(other.classify_each(images)), strict=True):
            same(one, expected)
        for one, expected in zip(each("small_sample_diagnosis", lambda asked: asked.each("embed", images)),
                                 rows(other.each("embed", images)), strict=True):
            same(one, expected)
    with Client(served.address, "super_resolution") as other:
        assert each("super_resolution", lambda asked: asked.restore_each(images)) == rows(other.restore_each(images))
    for ask in (lambda asked: asked.each("verify", images), lambda asked: asked.classify_each([])):
        with pytest.raises(ValueError):
            ask(AsyncClient("localhost:1"))


def test_answers_one_by_one_share_the_room_and_are_left_at_will():
    """In order whichever comes first; who leaves ends the requests under way, and others go on."""
    fake = Failing(gate=three_and_no_fourth())
    images = [bytes(number + 1) for number in range(200)]

    async def main(asked):
        beside = asyncio.ensure_future(asked.embed(images[:64]))
        found = [answer["embedding"][0] async for _, answer in asked.each("embed", images)]
        await beside
        left = asked.each("embed", images)
        async for _ in left:
            await asked.embed(RED)      # there is room within the loop
            break
        await left.aclose()
        return found, await asyncio.gather(*(asked.embed(RED) for _ in range(6)))

    with serving(fake) as address:
        found, after = run(address, main, in_flight=3)
    assert found == [*range(1, 201)] and fake.most == 3 and len(after) == 6


def test_reload_is_asked_once():
    fake = Failing(GONE)
    config = 'model_config_list { config { name: "m" base_path: "/m" model_platform: "tensorflow" } }'
    with serving(fake) as address:
        with pytest.raises(client.Unavailable, match="^Server [^ ]*: UNAVAILABLE"):
            run(address, lambda asked: asked.reload(config))
        assert fake.asked == {"HandleReloadConfigRequest": 1}
        run(address, lambda asked: asked.reload(config))
        assert [one.name for one in fake.reloaded[0].model_config_list.config] == ["m"]
        with pytest.raises(ValueError, match="ModelServerConfig"):
            run(address, lambda asked: asked.reload("{"))


def test_search_gives_text(monkeypatch):
    found = {"identities": [[b"ann", b"bo"]], "scores": [[0.5, 0.25]], "entries": [[b"1", b"2"]], "unknown": [False]}

    async def predict(self, signature, inputs):
        return {name: np.array(value, object if name in ("identities", "entries") else None)
                for name, value in found.items()}  # fmt: skip

    monkeypatch.setattr(AsyncClient, "_predict", predict)
    answer = run("localhost:1", lambda asked: asked.search(RED))
    assert answer["identities"].tolist() == [["ann", "bo"]] and answer["unknown"].tolist() == [False]


def test_the_requests_of_all_calls_together_are_bounded():
    fake = Failing(gate=three_and_no_fourth())

    async def ask(asked):
        return await asyncio.gather(
            asked.embed([bytes(number + 1) for number in range(150)]), asked.predict("embed", {"image_bytes": [RED]})
        )

    with serving(fake) as address:
        vectors, one = run(address, ask, in_flight=3)
    assert fake.most == 3 and sorted(fake.sizes) == [1, 22, 32, 32, 32, 32]
    assert vectors[:, 0].tolist() == [*range(1, 151)], "in order, whichever answer came first"


def test_images_of_later_requests_are_not_read_yet(tmp_path):
    """A file that appears while the first requests are answered is early enough."""
    images = [tmp_path / f"{number}.png" for number in range(96)]
    for image in images[:32]:
        image.write_bytes(RED)

    def rest(*_):
        for image in images[32:]:
            image.write_bytes(RED)

    with serving(Failing(gate=rest)) as address:
        assert run(address, lambda asked: asked.embed(images), in_flight=1).shape == (96, 2)


def test_failures_that_may_pass_are_asked_again_and_others_are_typed():
    fake = Failing(GONE, GONE)
    with serving(fake) as address:
        assert run(address, lambda asked: asked.embed(RED)).shape == (1, 2) and fake.asked == {"Predict": 3}
        for failure, error in ((GONE, client.Unavailable), ((grpc.StatusCode.INTERNAL, "broken"), client.Internal),
                               ((grpc.StatusCode.UNAUTHENTICATED, "who?"), client.Unauthenticated)):  # fmt: skip
            fake.failures, fake.asked = [failure] * 2, {}
            with pytest.raises(error, match=failure[1].replace("?", r"\?")):
                run(address, lambda asked: asked.embed(RED), retries=1)
            assert fake.asked == {"Predict": 2 if failure is GONE else 1}


def test_an_image_at_fault_is_named(served, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    for ask in (lambda asked: asked.embed([RED] * 40 + [tmp_path / "bad.png"]),
                lambda asked: asked.verify([RED, GREEN], [tmp_path / "bad.png", RED])):  # fmt: skip
        with pytest.raises(client.InvalidArgument, match="Unknown image file format") as caught:
            run(served.address, ask, version=1)
        assert caught.value.image == str(tmp_path / "bad.png")
    with pytest.raises(client.InvalidArgument) as caught:
        run(served.address, lambda asked: asked.classify([RED] * 40 + [b"bad"]), "small_sample_diagnosis")
    assert caught.value.image == "image 41"
    with pytest.raises(FileNotFoundError, match="absent.png"):
        run(served.address, lambda asked: asked.embed(tmp_path / "absent.png"))


def test_the_first_failure_ends_the_requests_beside_it():
    begun, ended, held, turns = threading.Event(), threading.Event(), threading.Event(), itertools.count()

    def gate(_, context):
        if next(turns) == 0:
            context.add_callback(ended.set)
            begun.set()
            held.wait(20)
        else:
            begun.wait(20)
            context.abort(grpc.StatusCode.INTERNAL, "broken")

    fake = Failing(gate=gate)
    with serving(fake) as address:
        with pytest.raises(client.Internal):
            run(address, lambda asked: asked.embed([RED] * 64), in_flight=2)
        assert ended.wait(20), "the server is told that nobody waits for the other request"
        held.set()


def test_deadlines_and_waiting():
    held = threading.Event()
    with serving(Failing(gate=lambda *_: held.wait(20))) as address:
        for ask in (lambda asked: asked.embed(RED), AsyncClient.metadata, AsyncClient.status,
                    lambda asked: asked.wait_ready(0.2)):  # fmt: skip
            with pytest.raises(client.DeadlineExceeded):
                run(address, ask, timeout=0.2)
        held.set()


def test_a_model_that_is_absent_is_believed_after_a_while(served):
    with pytest.raises(client.NotFound, match="Could not find any versions of model nobody"):
        run(served.address, lambda asked: asked.wait_ready(20, absent=0.1), "nobody")
    with pytest.raises(client.DeadlineExceeded, match="not ready after 0.3 s, last answer: NOT_FOUND"):
        run(served.address, lambda asked: asked.wait_ready(0.3), "nobody")


def test_clients_share_a_connection(served):
    async def main(address):
        async with AsyncConnection(address) as shared:
            async with AsyncClient(shared, "toy", version=1) as first:
                await first.embed(RED)
            async with AsyncClient(shared, "fake_image_detection") as second:
                return (await second.detect(RED))["decision"].tolist()

    with Relay(served.address) as relay:
        assert asyncio.run(main(relay.address)) == [True] and relay.connections == 1


def test_tls_and_compression(tmp_path):
    pem = certificates.make(tmp_path)
    pair = (pem / "server.key").read_bytes(), (pem / "server.pem").read_bytes()
    credentials = grpc.ssl_server_credentials([pair], (pem / "ca.pem").read_bytes(), True)
    own = {"tls": pem / "ca.pem", "tls_cert": pem / "client.pem", "tls_key": pem / "client.key"}
    with serving(Failing(), credentials) as address:
        assert run(address, lambda asked: asked.embed(RED), compression="gzip", **own).shape == (1, 2)
        with pytest.raises(client.Unavailable):
            run(address, lambda asked: asked.embed(RED), retries=0, timeout=2, tls=pem / "ca.pem")


def test_arguments_that_cannot_be():
    for settings, told in (({"in_flight": 0}, "`in_flight` is 0 but must be at least 1 request."),
                           ({"timeout": 0}, "`timeout` is 0 but must be more than 0 seconds."),
                           ({"version": 1, "label": "a"}, "only one of them")):  # fmt: skip
        with pytest.raises(ValueError, match=told):
            AsyncClient(**settings)
    for ask, told in ((lambda asked: asked.embed([]), "No image to embed"),
                      (lambda asked: asked.classify([]), "No image to classify"),
                      (lambda asked: asked.verify([RED, RED], [RED]), "hold 2 and 1 images")):  # fmt: skip
        with pytest.raises(ValueError, match=told):
            run("localhost:1", ask)


def test_a_client_that_never_asked_is_closed_as_well():
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        assert loop.run_until_complete(aio.AsyncClient("localhost:1").close()) is None
