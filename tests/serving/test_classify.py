"""Labels and what speaks for them, asked of a server process: by the library, and by the command classify."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from serving import client, client_command, overlay
from serving.client import Client
from tests.serving.toys import Diagnoser, png, run_process
from tests.tfrecords.here import run_here

RED, GREEN, BLUE, GREY = png(255, 0, 0), png(0, 255, 0), png(0, 0, 255), png(100, 110, 100)
NAMES = list(Diagnoser.CLASSES)  # of red, green and blue


@pytest.fixture(scope="module")
def diagnoser(served):
    with Client(served.address, "small_sample_diagnosis") as diagnoser:
        diagnoser.wait_ready(20)
        yield diagnoser


@pytest.fixture()
def run(served, capsys):
    return lambda *words: run_here(client, capsys, *words, f"--server={served.address}")


@pytest.fixture()
def scans(tmp_path):
    """A folder of images in two levels: half.png, red on the left and dark on the right, is unsure of nothing."""
    folder = tmp_path / "scans"
    (folder / "ward").mkdir(parents=True)
    half = np.zeros((28, 28, 3), np.uint8)
    half[:, :14, 0] = 255
    half = tf.io.encode_png(half).numpy()
    for name, data in (("half.png", half), ("unsure.png", GREY), ("ward/green.PNG", GREEN), ("notes.txt", b"x")):
        (folder / name).write_bytes(data)
    return folder


# ---- Library ----


def test_classify_takes_paths_bytes_one_or_many(diagnoser, scans):
    answer = diagnoser.classify([RED, scans / "unsure.png", str(scans / "ward" / "green.PNG")])
    assert {name: (value.dtype, value.shape) for name, value in answer.items()} == {
        "label": (object, (3,)), "decision": (np.int32, (3,)), "abstain": (bool, (3,)),
        "probabilities": (np.float32, (3, 3)), "classes": (object, (3, 3)),
        "uncertainty": (np.float32, (3,))}  # fmt: skip
    assert answer["label"].tolist() == ["pneumonia", "normal", "normal"] and answer["classes"].tolist() == [NAMES] * 3
    assert answer["decision"].tolist() == [0, 1, 1] and answer["abstain"].tolist() == [False, True, False]
    np.testing.assert_allclose(answer["probabilities"][0], [1.1 / 1.3, 0.1 / 1.3, 0.1 / 1.3], rtol=1e-6)
    np.testing.assert_allclose(answer["uncertainty"], 1 - answer["probabilities"].max(1), rtol=1e-6)
    one = diagnoser.classify(RED)
    assert all((one[name] == answer[name][:1]).all() for name in answer)


def test_many_images_go_in_chunks_and_come_back_in_order(diagnoser, monkeypatch):
    asked = []
    monkeypatch.setattr(diagnoser, "predict", lambda signature, inputs: (
        asked.append(len(inputs["image_bytes"])) or Client.predict(diagnoser, signature, inputs)))  # fmt: skip
    assert diagnoser.classify([RED, GREEN, BLUE] * 25)["decision"].tolist() == [0, 1, 2] * 25 and asked == [32, 32, 11]


def test_explain_gives_the_map_of_the_label(diagnoser, served):
    maps = diagnoser.explain([RED, GREEN, GREY])
    assert maps.shape == (3, 6, 8) and maps.dtype == np.float32
    assert (maps[:2] == 1).all() and np.allclose(maps[2], 110 / 255)
    with Client(served.address, "fake_image_detection") as other, pytest.raises(client.FailedPrecondition) as caught:
        other.explain(RED)
    assert str(caught.value).endswith("FAILED_PRECONDITION: the model has no signature `explain`; it has detect, "
                                      "fake_map.")  # fmt: skip


def test_one_image_that_is_refused_is_named_and_spoils_no_other(diagnoser, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    (tmp_path / "empty.png").write_bytes(b"")
    images = [RED, tmp_path / "bad.png", tmp_path / "empty.png", tmp_path / "gone.png", GREEN, b"no image"]
    answers = list(diagnoser.classify_each(images))
    assert [image for image, _ in answers] == images
    red, refused, empty, gone, green, last = (answer for _, answer in answers)
    assert (red["label"], green["label"]) == ("pneumonia", "normal") and red["probabilities"].shape == (3,)
    assert (refused.image, last.image) == (str(tmp_path / "bad.png"), "image 6")
    assert isinstance(empty, ValueError) and isinstance(gone, FileNotFoundError)
    for image, error in zip(images[1:4], (client.InvalidArgument, ValueError, FileNotFoundError)):
        with pytest.raises(error, match=image.name):
            diagnoser.classify([RED, image, GREEN])
    for ask in (diagnoser.classify, diagnoser.classify_each):
        with pytest.raises(ValueError, match="No image to classify; give at least one path"):
            ask([])


FINE = {
    "label": np.array([b"b", b"a"], object),
    "decision": np.array([1, 0], np.int32),
    "abstain": np.array([False, True]),
    "probabilities": np.array([[0.25, 0.75], [0.5, 0.5]], np.float32),
    "classes": np.array([[b"a", b"b"]] * 2, object),
}


def answering(monkeypatch, client, **outputs):
    monkeypatch.setattr(client, "predict", lambda signature, inputs: {**FINE, **outputs})


def test_a_model_need_not_tell_its_uncertainty(diagnoser, monkeypatch):
    answering(monkeypatch, diagnoser)
    answer = diagnoser.classify([RED, GREEN])
    assert set(answer) == set(FINE) and answer["label"].tolist() == ["b", "a"]
    answering(monkeypatch, diagnoser, probabilities=np.array([[-1e-4, 1.0001], [0.5, 0.5]]), more=np.zeros(2))
    answer = diagnoser.classify([RED, GREEN])
    assert answer["probabilities"].tolist() == [[0, 1], [0.5, 0.5]] and answer["probabilities"].dtype == np.float32
    assert set(answer) == set(FINE)


@pytest.mark.parametrize("outputs, told", [
    ({"label": np.array([1, 0])}, "output `label` is int64 [2] but must be string [n]"),
    ({"decision": np.zeros(2, np.float32)}, "output `decision` is float32 [2] but must be int32 [n]"),
    ({"abstain": np.zeros((2, 1), bool)}, "output `abstain` is bool [2, 1] but must be bool [n]"),
    ({"probabilities": np.zeros(2, np.float32)}, "output `probabilities` is float32 [2] but must be float32 [n, K]"),
    ({"classes": FINE["classes"][:, :1]}, "output `classes` has shape [2, 1] but must have that of `probabilities`"),
    ({"uncertainty": np.zeros(3, np.float32)}, "output `uncertainty` has shape [3] but must have that of `label`, [2]"),
    ({"abstain": np.zeros(3, bool)}, "output `abstain` has shape [3] for 2 images"),
])  # fmt: skip
def test_an_answer_that_is_none_is_refused(outputs, told, diagnoser, monkeypatch):
    answering(monkeypatch, diagnoser, **outputs)
    for ask in (diagnoser.classify, lambda images: list(diagnoser.classify_each(images))):
        with pytest.raises(client.ServingError) as caught:
            ask([RED, GREEN])
        assert f"DATA_LOSS: {told}" in str(caught.value) and caught.value.image is None


def test_an_answer_without_its_classes_is_refused(diagnoser, monkeypatch):
    monkeypatch.setattr(diagnoser, "predict", lambda *_: {name: FINE[name] for name in FINE if name != "classes"})
    with pytest.raises(client.ServingError, match="UNIMPLEMENTED: signature `classify` answers without `classes`; it"):
        diagnoser.classify([RED, GREEN])


@pytest.mark.parametrize("outputs, told", [
    ({"decision": np.array([1, 2])}, "output `decision` is 2 but must be one of the 2 columns of `classes`"),
    ({"decision": np.array([1, -1])}, "output `decision` is -1 but must be one of the 2 columns of `classes`"),
    ({"decision": np.array([1, 1])}, "output `label` is a but `decision` says column 1, which is b"),
    ({"classes": np.array([[b"a", b"b"], [b"a", b"a"]], object)}, "output `classes` holds a name twice: a, a"),
    ({"probabilities": np.array([[0, 1], [-0.5, 1.5]])}, "output `probabilities` holds values from -0.5 to 1.5 but mu"),
    ({"probabilities": np.array([[0, 1], [np.nan, 1]])}, "output `probabilities` holds values from nan to nan but mus"),
    ({"uncertainty": np.array([0, 7.0])}, "output `uncertainty` holds values from 7 to 7 but must lie in [0, 1]"),
])  # fmt: skip
def test_a_label_that_is_none_is_of_its_image_alone(outputs, told, diagnoser, monkeypatch):
    answering(monkeypatch, diagnoser, **outputs)
    (_, first), (_, second) = diagnoser.classify_each([RED, GREEN])
    assert first["label"] == "b" and second.image == "image 2" and f"DATA_LOSS: {told}" in str(second)
    with pytest.raises(client.ServingError, match="^image 2: "):
        diagnoser.classify([RED, GREEN])


# ---- Command ----


def test_classify_prints_a_table_or_json(run, scans, monkeypatch):
    monkeypatch.chdir(scans)
    images = "half.png", "unsure.png"
    code, out, error = run("classify", *images)
    assert (code, error) == (0, "")
    rows = [[cell.strip() for cell in line[1:-1].replace("┃", "│").split("│")] for line in out.splitlines()
            if line[0] in "│┃"]  # fmt: skip
    assert rows == [["image", "label", "probability", "runner-up", "uncertainty"],
                    ["half.png", "pneumonia", "0.7500", "normal 0.1250", "0.2500"],
                    ["unsure.png", "normal", "0.3506", "pneumonia 0.3247", "0.6494 unsure: ask a person"]]  # fmt: skip
    assert out.splitlines()[-1] == "2 images: 1 pneumonia, 1 unsure" and "clinical" not in out
    code, out, error = run("classify", *images, "--json")
    first, second = map(json.loads, out.splitlines())
    assert (code, error) == (0, "")
    assert list(first) == ["image", "label", "decision", "abstain", "probabilities", "uncertainty"]
    assert first == {"image": "half.png", "label": "pneumonia", "decision": 0, "abstain": False,
                     "probabilities": {"pneumonia": 0.75, "normal": 0.125, "effusion": 0.125},
                     "uncertainty": 0.25}  # fmt: skip
    assert list(first["probabilities"]) == NAMES
    assert second["label"] == "normal" and second["decision"] == 1 and second["abstain"] is True


def test_the_picture_is_red_where_the_map_is_high(run, scans, tmp_path):
    code, out, error = run("classify", scans / "half.png", scans / "unsure.png", f"--explain={tmp_path / 'out.png'}")
    said = f"picture written to {tmp_path / 'out.png'}: 2 images with what speaks for the label in red\n"
    assert (code, error) == (0, said) and "pneumonia" in out, "the answers stand beside it"
    with Image.open(tmp_path / "out.png") as opened:
        picture = opened.convert("RGB")
    height = overlay.MARGIN + overlay.HEAD + 2 * (overlay.SIDE + overlay.CAPTION)
    assert picture.size == (2 * overlay.MARGIN + overlay.WIDTH, height)
    top, right = overlay.MARGIN + overlay.HEAD, overlay.MARGIN + overlay.SIDE + overlay.BETWEEN
    middle = top + overlay.SIDE // 2
    assert picture.getpixel((overlay.MARGIN + 20, middle)) == (255, 0, 0), "the image as it is"
    assert picture.getpixel((overlay.MARGIN + 200, middle)) == (0, 0, 0)
    assert picture.getpixel((right + 20, middle)) == tuple(bytes.fromhex(overlay.RED[1:]))
    assert picture.getpixel((right + 200, middle)) == (0, 0, 0), "its right half speaks for nothing"
    caption = np.asarray(picture)[top + overlay.SIDE :]
    doubt = (caption == tuple(bytes.fromhex(overlay.DOUBT[1:]))).all(-1).any(1).nonzero()[0]
    assert doubt.min() > overlay.SIDE + overlay.CAPTION, "the second alone is unsure"
    assert not list(tmp_path.glob("out.png.*"))


def test_of_many_images_at_most_50_are_explained(run, scans, tmp_path, monkeypatch):
    asked, explain = [], Client.explain
    monkeypatch.setattr(Client, "explain", lambda self, images: asked.append(len(images)) or explain(self, images))
    (scans / "bad.png").write_bytes(b"no image")
    words = [scans / "bad.png"] * 2 + [scans / "half.png"] * 52
    code, out, error = run("classify", *words, f"--explain={tmp_path / 'out.png'}", "--json")
    assert code == 1 and asked == [30, 20] and len(out.splitlines()) == 52
    assert error.splitlines()[0].endswith(": the first 50 of 52 images with what speaks for the label in red")


def test_a_bad_file_among_good_ones_is_told_and_the_others_are_answered(run, scans, tmp_path):
    (scans / "bad.gif").write_bytes(b"no image")
    (scans / "empty.bmp").write_bytes(b"")
    (scans / "ward" / "link.png").symlink_to(tmp_path)
    code, out, error = run("classify", scans, "--json", f"--explain={tmp_path / 'out.png'}")
    assert code == 1 and [json.loads(line)["image"] for line in out.splitlines()] == [
        f"{scans}/half.png", f"{scans}/unsure.png", f"{scans}/ward/green.PNG"
    ]
    drawn, refused, empty, said = error.splitlines()
    assert drawn.endswith("out.png: 3 images with what speaks for the label in red")
    assert refused.startswith(f"error: {scans}/bad.gif: Server ") and "Unknown image file format" in refused
    assert empty.startswith(f"error: `{scans}/empty.bmp` is empty;")
    assert said == "3 images classified; 2 refused; 1 file with another ending skipped; 1 link not followed"
    code, out, error = run("classify", scans / "bad.gif", scans / "empty.bmp", f"--explain={tmp_path / 'none.png'}")
    assert (code, out, error.count("\n")) == (1, "", 3) and error.endswith("\n0 images classified; 2 refused\n")
    assert not (tmp_path / "none.png").exists()


def test_what_was_answered_is_shown_when_the_server_goes_away(run, scans, tmp_path, monkeypatch):
    classified = Client._classified_together

    def once(self, sent, trusted):
        if trusted:
            raise client.Unavailable("UNAVAILABLE", "gone")
        return classified(self, sent, trusted)

    monkeypatch.setattr(Client, "_classified_together", once)
    words = ("classify", *[scans / "half.png"] * 70, f"--explain={tmp_path / 'out.png'}")
    code, out, error = run(*words)
    assert code == 1 and out.splitlines()[-1] == "32 images: 32 pneumonia"
    drawn, gone = error.splitlines()
    assert drawn.endswith("out.png: 32 images with what speaks for the label in red")
    assert gone.startswith("error: UNAVAILABLE: gone; start it with ")


def test_a_map_of_the_server_that_is_none_is_one_sentence(run, scans, tmp_path, monkeypatch):
    monkeypatch.setattr(Client, "_ask_images", lambda *_, **__: {"map": np.full((1, 2, 2), np.nan, np.float32)})
    code, out, error = run("classify", scans / "half.png", f"--explain={tmp_path / 'out.png'}")
    assert (code, out, error.count("\n")) == (1, "", 1) and not (tmp_path / "out.png").exists()
    assert error.startswith(f"error: {scans / 'half.png'}: Server ") and "from nan to nan but must lie in" in error


def test_work_that_took_long_has_a_closing_line(run, scans, monkeypatch):
    monkeypatch.setattr(client_command, "QUIET_SECONDS", 0.0)
    code, out, error = run("classify", scans, "--wait=0", "--json")
    progress, said = error.splitlines()
    assert code == 0 and progress.startswith("classifying: 3 images in ") and progress.endswith(" s")
    assert said == "3 images classified; 1 file with another ending skipped"


@pytest.mark.parametrize("words, told", [
    (["classify"], "No image to classify; give at least one path."),
    (["classify", "{gone}"], "Image `{gone}` is not a file; check the path."),
    (["classify", "{scans}/none"], "`{scans}/none` holds no image to classify; images are files that end in .png "),
    (["classify", "{half}", "--explain=o.jpg"], "`--explain` is o.jpg but must end in .png."),
    (["classify", "{half}", "--explain=folder"], "`--explain` is folder but must end in .png."),
    (["classify", "{half}", "--explain=/nonexist/o.png"], "`--explain` is /nonexist/o.png but there is no folder"),
    (["classify", "{half}", "--explain={half}"], "`--explain` is {half} but that is an image to classify, which w"),
    (["classify", "{scans}", "--explain={half}"], "`--explain` is {half} but that is an image to classify, which w"),
    (["detect", "{half}", "--out={half}"], "`--out` is {half} but that is an image to detect, which would be ov"),
    (["classify", "{half}", "--out=o.png"], "`--out` belongs to embed and ask and search and detect and generate and"),
    (["classify", "{half}", "--out=o.png"], "restore; write --explain=FILE.png for classify."),
    (["detect", "{half}", "--explain=o.png"], "`--explain` belongs to classify; leave it away for detect."),
    (["classify", "{half}", "--k=2"], "`--k` belongs to search; leave it away for classify."),
    (["classify", "{bad}"], "error: {bad}: Server "),
    (["classify", "{half}", "--model=toy", "--version=1"], 'Serving signature key "classify" not found.'),
    (["classify", "{half}", "{bad}", "--model=fake_image_detection"], 'Serving signature key "classify" not found.'),
    (["classify", "{half}", "--model=fake_image_detection", "--explain={made}"], "the model has no signature `expla"),
    (["classify", "{half}", "--model=nobody", "--explain={made}"], "NOT_FOUND: "),
    (["classify", "{half}", "--model=nobody"], "NOT_FOUND: Servable not found for request: Latest(nobody)"),
])  # fmt: skip
def test_command_errors_are_one_sentence(run, scans, words, told):
    (scans / "none").mkdir()
    bad, made = scans.parent / "bad.png", scans.parent / "made.png"
    bad.write_bytes(b"no image")
    names = {"scans": scans, "half": scans / "half.png", "gone": scans / "gone.png", "bad": bad, "made": made}
    before = (scans / "half.png").read_bytes()
    code, out, error = run(*(word.format(**names) for word in words), "--wait=0")
    assert (code, out, error.count("\n")) == (1, "", 1) and error.startswith("error: "), error
    assert told.format(**names) in error and not made.exists() and (scans / "half.png").read_bytes() == before


def test_a_model_without_explain_is_told_before_anything_is_classified(run, scans, tmp_path, monkeypatch):
    monkeypatch.setattr(Client, "classify_each", lambda *_: pytest.fail("classified"))
    monkeypatch.setattr(Client, "predict", lambda *_: pytest.fail("asked"))
    words = ("--model=fake_image_detection", f"--explain={tmp_path / 'out.png'}")
    code, out, error = run("classify", scans, *words)
    assert (code, out, error.count("\n")) == (1, "", 1)
    assert error.endswith("FAILED_PRECONDITION: the model has no signature `explain`; it has detect, fake_map.\n")


@pytest.mark.slow
def test_as_a_process(served, scans, tmp_path):
    words = ("classify", scans, f"--explain={tmp_path / 'out.png'}", f"--server={served.address}")
    code, out, error = run_process("serving.client", *words)
    assert code == 0 and out.endswith("\n3 images: 1 pneumonia, 1 normal, 1 unsure\n")
    assert (tmp_path / "out.png").exists()
    assert error.splitlines()[1:] == ["3 images classified; 1 file with another ending skipped"]
    (scans / "bad.png").write_bytes(b"no image")
    code, out, error = run_process("serving.client", "classify", scans / "bad.png", f"--server={served.address}")
    assert (code, out, error.count("\n")) == (1, "", 1) and error.startswith(f"error: {scans / 'bad.png'}: Server ")
