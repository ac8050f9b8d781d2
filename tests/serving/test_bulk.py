"""Any number of images through a server: order, what is in flight, JSON lines, and files that are gone on with."""

import fcntl
import itertools
import json
import threading

import grpc
import numpy as np
import pytest

from serving import bulk, channel, client, client_command, folders
from serving.client import Client
from tests.serving.fakes import Failing, serving, three_and_no_fourth
from tests.serving.toys import png, run_process
from tests.tfrecords.here import run_here

GONE = grpc.StatusCode.UNAVAILABLE, "the server goes down"


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(channel, "FIRST_PAUSE", 0.002)


@pytest.fixture()
def fake():
    fake = Failing()
    with serving(fake) as fake.address, Client(fake.address) as fake.client:
        yield fake


@pytest.fixture()
def photos(tmp_path):
    """a/00.png to a/69.png of 101 to 170 bytes, b.png, two that are refused, and what is left out."""
    folder = tmp_path / "photos"
    (folder / "a").mkdir(parents=True)
    for number in range(70):
        (folder / "a" / f"{number:02}.png").write_bytes(bytes(101 + number))
    (folder / "b.png").write_bytes(b"b")
    (folder / "empty.png").write_bytes(b"")
    (folder / "c.png").write_bytes(b"refused")
    (folder / "notes.txt").write_bytes(b"x")
    (folder / "link").symlink_to(tmp_path)
    return folder


@pytest.fixture()
def run(fake, capsys):
    return lambda *words: run_here(client, capsys, *words, f"--server={fake.address}")


EXPECTED = [*range(101, 171), 1]  # the first number of each answer


def firsts(lines):
    return [json.loads(line)["embedding"][0] for line in lines.splitlines()]


# ---- Library ----


def test_answers_come_in_order_whichever_was_first(fake):
    turns, late = threading.Barrier(2), threading.Event()

    def gate(*_):
        if fake.asked["Predict"] > 2:
            return
        if turns.wait(20) == 0:  # one of the first two is answered after the other
            late.wait(20)
        else:
            late.set()

    fake.gate = gate
    images = [bytes(number + 1) for number in range(40)]
    found = list(bulk.answers(fake.client, "embed", iter(images), in_flight=2, batch=4))
    assert [image for image, _ in found] == images
    assert [answer["embedding"][0] for _, answer in found] == [*range(1, 41)] and fake.sizes == [4] * 10


def test_no_more_than_the_window_is_asked_and_read(fake):
    fake.gate = three_and_no_fourth()
    taken = itertools.count()
    images = (bytes(next(taken) + 1) for _ in range(10**9))
    answers = bulk.answers(fake.client, "embed", images, in_flight=3, batch=2)
    for _ in range(4):
        next(answers)
    assert fake.most == 3, "as many as are in flight"
    assert next(taken) <= 2 * (2 * 3 + 2) + 2, "of a billion images"
    answers.close()


def test_large_images_go_by_fewer(fake, monkeypatch):
    monkeypatch.setattr(bulk, "BATCH_BYTES", 100)
    images = [bytes(40), bytes(40), bytes(40), bytes(300), bytes(1), bytes(99), bytes(1)]
    assert len(list(bulk.answers(fake.client, "embed", images, in_flight=1))) == 7
    assert fake.sizes == [2, 1, 1, 2, 1]


def test_what_is_wrong_with_one_image_spoils_no_other(fake, tmp_path):
    images = [bytes(5), b"refused", tmp_path / "none.png", bytes(6)]
    one, refused, absent, other = (answer for _, answer in bulk.answers(fake.client, "embed", images))
    assert one["embedding"].tolist() == [5, 1] and other["embedding"].tolist() == [6, 1]
    assert isinstance(refused, client.InvalidArgument) and refused.image == "image 2"
    assert isinstance(absent, FileNotFoundError) and "none.png" in str(absent)


def test_what_is_wrong_with_all_ends_the_asking(fake):
    fake.gate = lambda _, context: context.abort(grpc.StatusCode.INTERNAL, "broken")
    taken = itertools.count()
    images = (bytes(next(taken) + 1) for _ in range(10**9))
    with pytest.raises(client.Internal, match="broken"):
        list(bulk.answers(fake.client, "embed", images, in_flight=2, batch=1))
    assert next(taken) < 20


@pytest.mark.parametrize("model, signature", [
    ("toy", "embed"), ("toy", "ask"), ("fake_image_detection", "detect"), ("small_sample_diagnosis", "classify"),
])  # fmt: skip
def test_each_signature_answers_as_its_own_method(served, model, signature):
    images = [png(200, 10 * number, 0) for number in range(20)]
    with Client(served.address, model, version=1) as asked:
        expected = getattr(asked, signature)(images)
        if signature in ("embed", "ask"):
            expected = {"embedding": expected}
        each = [answer for _, answer in asked.each(signature, images)]
        found = [answer for _, answer in bulk.answers(asked, signature, images, batch=3)]
    for name, values in expected.items():
        np.testing.assert_array_equal([answer[name] for answer in each], values)
        np.testing.assert_allclose([answer[name] for answer in found], values, rtol=1e-6) if values.dtype.kind == "f" \
            else np.testing.assert_array_equal([answer[name] for answer in found], values)  # fmt: skip


def test_numbers_and_signatures_that_cannot_be(fake):
    for words, told in (({"in_flight": 0}, "`in_flight` is 0 but must be at least 1."),
                        ({"batch": 0}, "`batch` is 0 but must be at least 1.")):  # fmt: skip
        with pytest.raises(ValueError, match=told):
            bulk.answers(fake.client, "embed", [b"x"], **words)
    for ask in (lambda: bulk.answers(fake.client, "verify", [b"x"]), lambda: fake.client.each("generate", [b"x"])):
        with pytest.raises(ValueError, match="must be one of embed, ask, search, detect, classify; ask other"):
            ask()
    with pytest.raises(ValueError, match="No image to embed"):
        fake.client.each("embed", [])


def test_a_folder_is_walked_in_the_order_of_its_paths(tmp_path):
    for name in ("b/x.png", "b-c/x.png", "b.png", "a/z/y.png", "a.b/q.png", "b/x/1.png", "z.txt", ".hidden/h.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    paths = list(folders.Walk(tmp_path))
    assert paths == sorted(paths) and len(paths) == 6
    found = folders.Images([str(tmp_path), str(tmp_path / "b.png")], "embed")
    assert (found.count, found.others, found.links) == (7, 1, 0)
    assert list(found) == list(found) == [str(tmp_path / path) for path in [*paths, "b.png"]]


# ---- Command ----


def test_a_folder_is_embedded_to_stdout(run, photos, fake):
    code, out, error = run("embed", photos, "--json", "--in_flight=3", "--batch=10")
    assert code == 1 and firsts(out) == EXPECTED, error
    assert json.loads(out.splitlines()[0]) == {"image": f"{photos}/a/00.png", "embedding": [101, 1]}
    refused, empty, said = error.splitlines()
    assert refused.startswith(f"error: {photos}/c.png: Server ") and "Unknown image file format" in refused
    assert empty.startswith(f"error: `{photos}/empty.png` is empty;")
    assert said == "71 images embedded; 2 refused; 1 file with another ending skipped; 1 link not followed"
    assert max(fake.sizes) == 10


def test_a_file_appears_when_it_is_whole(run, photos, fake, tmp_path):
    out_file, seen = tmp_path / "answers.jsonl", []
    (photos / "empty.png").unlink()
    (photos / "c.png").unlink()
    fake.gate = lambda *_: seen.append(out_file.exists())
    code, out, error = run("embed", photos, f"--out={out_file}", "--json")
    assert (code, out) == (0, "") and firsts(out_file.read_text()) == EXPECTED and not any(seen)
    assert error == (
        f"71 images embedded to {out_file}; 1 file with another ending skipped; 1 link not followed\n"
    )
    assert [path.name for path in tmp_path.iterdir() if "jsonl" in path.name] == ["answers.jsonl"]


def test_an_interrupted_call_is_gone_on_with(run, photos, fake, tmp_path):
    out_file = tmp_path / "answers.jsonl"
    words = ("embed", photos, f"--out={out_file}", "--batch=10", "--in_flight=1", "--wait=0", "--retries=0")
    fake.gate = lambda name, context: fake.asked[name] == 4 and context.abort(*GONE) if name == "Predict" else None
    code, out, error = run(*words)
    assert (code, out) == (1, "") and not out_file.exists()
    kept, gone = error.splitlines()
    (part,) = tmp_path.glob("answers.jsonl.*.part")
    assert kept == f"what was answered is kept in {part}; the same command goes on from there"
    assert "UNAVAILABLE: the server goes down" in gone and len(part.read_text().splitlines()) == 30
    part.write_text(part.read_text() + '{"image": "half')  # as of a process that was killed
    fake.gate, fake.sizes[:] = None, []
    code, out, error = run(*words)
    assert code == 1 and error.splitlines()[0] == f"going on after 30 answers of an earlier call in {part}"
    assert error.splitlines()[-1].startswith(f"71 images embedded to {out_file}; 2 refused")
    assert sum(size for size in fake.sizes if size > 1) == 42 and firsts(out_file.read_text()) == EXPECTED
    assert not part.exists()


def test_another_question_does_not_go_on_with_the_answers_of_this_one(run, photos, fake, tmp_path):
    out_file = tmp_path / "answers.jsonl"
    words = (f"--out={out_file}", "--batch=10", "--in_flight=1", "--wait=0", "--retries=0")
    fake.gate = lambda name, context: fake.asked[name] == 4 and context.abort(*GONE) if name == "Predict" else None
    run("embed", photos, *words)
    (part,) = tmp_path.glob("answers.jsonl.*.part")
    fake.gate = None
    code, out, error = run("embed", photos / "b.png", *words)
    assert (code, firsts(out_file.read_text())) == (0, [1])
    assert error.splitlines()[0] == f"{part} is of other images, another model or version and left as it is"
    assert part.exists()
    code, out, error = run("embed", photos, *words, "--model=other")
    assert "going on" not in error and firsts(out_file.read_text()) == EXPECTED


def test_two_processes_never_write_one_file(run, photos, fake, tmp_path):
    out_file = tmp_path / "answers.jsonl"
    with bulk.Answers("out", str(out_file), "q") as first:
        first.write({"image": "a"})
        with pytest.raises(OSError, match="another process is writing it; wait for its end or give another --out"):
            bulk.Answers("out", str(out_file), "q").__enter__()
        first.finish()
    assert out_file.read_text() == '{"image": "a"}\n'
    with open(out_file) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nothing holds it any more


def test_nothing_is_left_where_nothing_was_answered(run, photos, tmp_path, fake):
    fake.failures = [GONE] * 9
    code, out, error = run("embed", photos, f"--out={tmp_path / 'a.jsonl'}", "--wait=0", "--retries=0")
    assert (code, out, error.count("\n")) == (1, "", 1) and not list(tmp_path.glob("a.jsonl*"))


def test_a_server_that_does_not_tell_its_version_is_asked_all_the_same(run, photos, tmp_path, fake):
    fake.gate = lambda name, context: name == "Predict" or context.abort(grpc.StatusCode.UNIMPLEMENTED, "unknown call")
    code, out, error = run("embed", photos / "b.png", f"--out={tmp_path / 'a.jsonl'}")
    assert (code, firsts((tmp_path / "a.jsonl").read_text())) == (0, [1]), error


def test_of_many_refused_images_the_first_are_named(run, tmp_path, monkeypatch):
    monkeypatch.setattr(client_command, "MOST_TOLD", 3)
    (tmp_path / "in").mkdir()
    for number in range(8):
        (tmp_path / "in" / f"{number}.png").write_bytes(b"refused" if number else b"fine")
    code, out, error = run("embed", tmp_path / "in", "--json")
    assert code == 1 and len(error.splitlines()) == 5 and firsts(out) == [4]
    assert error.splitlines()[-2:] == ["error: 4 images more refused", "1 image embedded; 7 refused"]


def test_progress_where_no_terminal_shows_a_bar(run, photos, monkeypatch):
    monkeypatch.setattr(client_command, "LINE_SECONDS", 0.0)
    code, out, error = run("embed", photos, "--json", "--batch=64")
    assert "embedding: 73 of 73 images in " in error and firsts(out) == EXPECTED


def test_detect_and_classify_write_lines(served, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for name, data in (("red", png(255, 0, 0)), ("green", png(0, 255, 0))):
        (tmp_path / "in" / f"{name}.png").write_bytes(data)
    for signature, key, values in (("detect", "decision", [False, True]),
                                   ("classify", "label", ["normal", "pneumonia"])):  # fmt: skip
        words = (signature, tmp_path / "in", f"--server={served.address}")
        code, streamed, error = run_here(client, capsys, *words, "--json")
        assert (code, error) == (0, "")
        assert [json.loads(line)[key] for line in streamed.splitlines()] == values
        code, out, error = run_here(client, capsys, *words, f"--out={tmp_path / 'a.jsonl'}")
        assert (code, out) == (0, "") and (tmp_path / "a.jsonl").read_text() == streamed


def test_search_writes_lines(tmp_path, capsys, monkeypatch):
    def predict(self, signature, inputs):
        count = len(inputs["image_bytes"])
        return {
            "identities": np.array([[b"ann", b"bo", b"ann"]] * count, object),
            "scores": np.array([[0.9, 0.8, 0.5]] * count, np.float32),
            "entries": np.array([[b"1", b"2", b"3"]] * count, object),
            "unknown": np.zeros(count, bool),
        }

    monkeypatch.setattr(Client, "predict", predict)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "red.png").write_bytes(png(255, 0, 0))
    words = ("search", tmp_path / "in", "--json", "--wait=0")
    code, out, error = run_here(client, capsys, *words)
    row = json.loads(out)
    assert code == 0 and row["vote"] == {"ann": 2, "bo": 1} and row["voted"] == "ann" and len(row["matches"]) == 3
    code, out, error = run_here(client, capsys, *words, "--k=1")
    assert json.loads(out)["matches"] == [{"identity": "ann", "score": pytest.approx(0.9), "entry": "1"}]


@pytest.mark.parametrize("words, told", [
    (["embed", "{photos}", "--json", "--batch=0"], "`--batch` is `0` but must be an integer in the range [1, 1024]."),
    (["embed", "{one}", "--json", "--batch=4"], "`--batch` is 4 but belongs to JSON lines; give --out=FILE.jsonl as"),
    (["embed", "{one}", "--in_flight=4"], "`--in_flight` is 4 but belongs to JSON lines; give --out=FILE.jsonl as"),
    (["embed", "{photos}"], "Image `{photos}` is a folder; give its images, such as {photos}/*.png, or --json for a"),
    (["verify", "{photos}", "{one}", "--json"], "Image `{photos}` is a folder; give its images, such as {photos}/*."),
    (["embed", "{photos}/none.png", "--out=a.jsonl"], "Image `{photos}/none.png` is not a file; check the path."),
    (["embed", "{one}", "--out=/nonexist/a.jsonl"], "`--out` is /nonexist/a.jsonl but there is no folder `/nonexist`"),
    (["embed", "{one}", "--out=a.jsonl", "--pattern=(?P<identity>b)"], "`--pattern` is (?P<identity>b) but `--out` is"),
    (["classify", "{one}", "--out=a.jsonl", "--explain=x.png"], "`--explain` is x.png but `--out` is a.jsonl, which"),
    (["restore", "{one}", "--out=a.jsonl"], "`--out` is a.jsonl but must end in .png or, for a folder, have no end"),
    (["embed", "{photos}/nothing", "--json"], "`{photos}/nothing` holds no image to embed; images are files that end"),
    (["embed", "{photos}/c.png", "--out={photos}/a.jsonl"], "error: {photos}/c.png: Server "),
    (["embed", "{photos}", "--json", "--tls_cert=x"], "`tls_cert` is x but `tls_key` is missing;"),
])  # fmt: skip
def test_command_errors_are_one_sentence(run, photos, words, told):
    (photos / "nothing").mkdir()
    names = {"photos": photos, "one": photos / "b.png"}
    code, out, error = run(*(word.format(**names) for word in words), "--wait=0")
    assert (code, out, error.count("\n")) == (1, "", 1) and error.startswith("error: "), error
    assert told.format(**names) in error and not list(photos.glob("a.jsonl*"))


@pytest.mark.slow
def test_as_a_process(fake, photos, tmp_path):
    words = ("embed", photos, f"--server={fake.address}", f"--out={tmp_path / 'a.jsonl'}")
    code, out, error = run_process("serving.client", *words)
    assert (code, out) == (1, "") and error.splitlines()[-1].startswith("71 images embedded to ")
    assert firsts((tmp_path / "a.jsonl").read_text()) == EXPECTED
