import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from saved_models import export as export_module
from saved_models import verify
from saved_models.export import export
from saved_models.signatures import example_of
from saved_models.versions import list_versions
from tests.saved_models.conftest import TinyModel

ROOT = Path(export_module.__file__).parents[1]


def write(model, models, assets=None, signatures=None, variables=None, check=False, **options):
    return export(str(models), "task", signatures or model.signatures, model.decoder,
                  variables or model.variables, assets or {}, check=check, **options)


def names(models):
    return sorted(os.listdir(models / "task"))


def test_a_version_holds_everything_and_answers_as_the_live_model(model, png, tmp_path):
    images = np.array([png(0), png(1)], object)
    warmup = {"embed": {"image_bytes": images[:1]}}
    pixels = np.ones((1, 4, 4, 3))
    samples = {"embed": {"image_bytes": images}, "classify_examples": {"inputs": [example_of(png(0))]},
               "verify_tensor": {"image_tensor_1": pixels, "image_tensor_2": pixels}}
    path = write(model, tmp_path, {"classes.json": ["a", "b"], "model_card.md": "# Ä", "raw.bin": b"\0\xff"},
                 signatures=classifying(model), warmup=warmup, check=samples)
    assert path == str(tmp_path / "task" / "1") and names(tmp_path) == ["1"]
    folder = Path(path)
    assert {"saved_model.pb", "variables", "assets", "assets.extra"} <= set(os.listdir(folder))
    assert json.loads((folder / "assets" / "classes.json").read_text()) == ["a", "b"]
    assert (folder / "assets" / "model_card.md").read_text(encoding="utf-8") == "# Ä"
    assert (folder / "assets" / "raw.bin").read_bytes() == b"\0\xff"
    loaded = tf.saved_model.load(path)
    live = model.embed(model.decoder.images(tf.constant(images)))["embedding"]
    reloaded = loaded.signatures["serving_default"](image_bytes=tf.constant(images))["embedding"]
    np.testing.assert_allclose(reloaded, live, atol=1e-5)


def test_warmup_requests_are_prediction_logs_that_the_version_answers(version, png):
    file = os.path.join(version, "assets.extra", "tf_serving_warmup_requests")
    records = list(tf.data.TFRecordDataset(file).as_numpy_iterator())
    assert len(records) == 1
    request = prediction_log_pb2.PredictionLog.FromString(records[0]).predict_log.request
    assert (request.model_spec.name, request.model_spec.signature_name) == ("verification", "embed")
    values = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
    assert values["image_bytes"].numpy().tolist() == [png(0)]
    assert tf.saved_model.load(version).signatures["embed"](**values)["embedding"].shape == [1, 4]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, png):
    """A version whose `classify` tells three classes, with its warm-up."""
    model = TinyModel()
    return export(str(tmp_path_factory.mktemp("classifier")), "task", classifying(model), model.decoder,
                  model.variables, {}, warmup={"classify": {"image_bytes": np.array([png(0)], object)}}, check=False)


def classifying(model):
    """The signatures of a model, and one that tells three classes."""
    def classify(images):
        probabilities = tf.nn.softmax(model.embed(images)["embedding"][:, :3])
        return {"probabilities": probabilities,
                "classes": tf.repeat(tf.constant([["a", "b", "c"]]), tf.shape(probabilities)[0], axis=0)}
    return {**model.signatures, "classify": {"function": classify, "images": 1}}


def test_only_what_takes_examples_has_the_method_of_classify_and_the_fingerprint_fits(classifier):
    graph = verify.serve_graph(verify.read_saved_model(classifier))
    methods = {name: entry.method_name for name, entry in graph.signature_def.items() if not name.startswith("__")}
    assert methods.pop("classify_examples") == "tensorflow/serving/classify"
    assert set(methods.values()) == {"tensorflow/serving/predict"} and "classify" in methods
    before = tf.saved_model.experimental.read_fingerprint(classifier)
    export_module.fingerprinting_utils.write_fingerprint(classifier)
    assert tf.saved_model.experimental.read_fingerprint(classifier) == before


def test_what_warms_a_classifier_up_warms_its_twin_up(classifier, png):
    file = os.path.join(classifier, "assets.extra", "tf_serving_warmup_requests")
    logs = [prediction_log_pb2.PredictionLog.FromString(one)
            for one in tf.data.TFRecordDataset(file).as_numpy_iterator()]
    assert [log.WhichOneof("log_type") for log in logs] == ["predict_log", "classify_log"]
    request = logs[1].classify_log.request
    assert (request.model_spec.name, request.model_spec.signature_name) == ("task", "classify_examples")
    assert [one.SerializeToString() for one in request.input.example_list.examples] == [example_of(png(0))]


def test_numbers_follow_the_highest_name_present(model, tmp_path):
    for name in ("00000007", "notes", "2"):
        (tmp_path / "task" / name).mkdir(parents=True)
    assert write(model, tmp_path).endswith("/8")
    assert write(model, tmp_path, keep=1).endswith("/9")
    assert list_versions(str(tmp_path), "task") == [9]


def test_a_number_taken_meanwhile_moves_the_version_to_the_next(model, tmp_path, monkeypatch):
    def faster_exporter(path):
        (tmp_path / "task" / "1").mkdir()
        (tmp_path / "task" / "1" / "saved_model.pb").write_bytes(b"theirs")
    monkeypatch.setattr(export_module, "_flush", faster_exporter)
    assert write(model, tmp_path).endswith("/2")
    assert (tmp_path / "task" / "1" / "saved_model.pb").read_bytes() == b"theirs"


def test_two_exporters_of_one_process_claim_different_folders(tmp_path):
    first, second = export_module._claim(str(tmp_path)), export_module._claim(str(tmp_path))
    assert first[0] != second[0] and (first[1], second[1]) == (1, 2)
    os.close(first[2])
    os.close(second[2])


KILLED = """
import sys, time
from saved_models import export
import tensorflow as tf
def wait(path):
    print("written", flush=True)
    time.sleep(60)
export._flush = wait
spec = {"x": tf.TensorSpec([None], tf.float32)}
entry = {"function": lambda x: {"y": 2.0 * x}, "inputs": spec}
export.export(sys.argv[1], "task", {"double": entry}, None, [], {}, check=False)
"""


def test_a_kill_leaves_no_version_and_the_next_export_cleans_up(model, tmp_path):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout.readline() == b"written\n"
    assert names(tmp_path) == [f".exporting-1-{process.pid}"]
    export_module.remove_abandoned(str(tmp_path / "task"))        # alive: stays
    assert names(tmp_path) == [f".exporting-1-{process.pid}"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert (tmp_path / "task" / f".exporting-1-{process.pid}" / "saved_model.pb").exists()
    assert list_versions(str(tmp_path), "task") == []
    assert write(model, tmp_path).endswith("/1")
    assert names(tmp_path) == ["1"]


def test_a_folder_whose_exporter_lives_stays_even_before_it_is_locked(tmp_path):
    folder = tmp_path / f".exporting-1-{os.getpid()}"
    folder.mkdir()
    export_module.remove_abandoned(str(tmp_path))
    assert folder.exists()


def test_a_locked_folder_stays_even_if_its_pid_is_unknown_here(tmp_path):
    done = subprocess.Popen(["true"])
    done.wait()
    folder = tmp_path / f".exporting-1-{done.pid}"
    folder.mkdir()
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    export_module.remove_abandoned(str(tmp_path))
    assert folder.exists()
    os.close(lock)
    export_module.remove_abandoned(str(tmp_path))
    assert not folder.exists()


@pytest.mark.parametrize("error", [
    OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EDQUOT, "Disk quota exceeded"),
    tf.errors.ResourceExhaustedError(None, None, "variables/v.data; No space left on device"),
])
def test_a_full_disk_is_named_and_leaves_nothing(model, tmp_path, monkeypatch, error):
    def full(*arguments, **options):
        raise error
    monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises(OSError, match="No version of `task` was written: the disk of `.*` is full") as caught:
        write(model, tmp_path)
    assert caught.value.errno == errno.ENOSPC and names(tmp_path) == []


def test_a_full_disk_at_the_last_file_leaves_nothing_either(model, tmp_path, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device", path)
    monkeypatch.setattr(export_module, "_flush", full)
    with pytest.raises(OSError, match="is full"):
        write(model, tmp_path)
    assert names(tmp_path) == []


def test_an_interrupt_removes_the_hidden_folder(model, tmp_path, monkeypatch):
    def interrupt(path):
        raise KeyboardInterrupt
    monkeypatch.setattr(export_module, "_flush", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(model, tmp_path)
    assert names(tmp_path) == []


def test_a_model_that_needs_python_is_refused_and_leaves_nothing(model, tmp_path):
    def embed(images):
        sums = tf.numpy_function(lambda x: x.sum((1, 2)), [images], tf.float32)
        return {"embedding": tf.ensure_shape(sums, [None, 3])}
    with pytest.raises(ValueError, match=r"No version of `task` was written: Op `PyFunc` .*calls back into"):
        write(model, tmp_path, signatures={"embed": {"function": embed, "images": 1}}, check=True)
    assert names(tmp_path) == []


def test_a_variable_that_is_not_handed_over_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match="No version of `task` was written: .*untracked"):
        write(model, tmp_path, variables=[tf.Variable(1.0)])
    assert names(tmp_path) == []


def test_an_asset_may_not_replace_a_look_up_file_of_the_graph(model, tmp_path):
    (tmp_path / "words.txt").write_text("one\n")
    table = tf.lookup.StaticHashTable(tf.lookup.TextFileInitializer(
        str(tmp_path / "words.txt"), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER), -1)

    def look_up(word):
        return {"row": table.lookup(word)}
    entry = {"row": {"function": look_up, "inputs": {"word": tf.TensorSpec([None], tf.string)}}}
    path = write(model, tmp_path, {"classes.json": []}, signatures=entry, variables=[table])
    assert sorted(os.listdir(os.path.join(path, "assets"))) == ["classes.json", "words.txt"]
    with pytest.raises(ValueError, match="asset `words.txt` has the name of a look-up file"):
        write(model, tmp_path, {"words.txt": "two\n"}, signatures=entry, variables=[table])
    assert names(tmp_path) == ["1"]


@pytest.mark.parametrize("options, text", [
    ({"assets": {"../a": ""}}, r"asset name is `../a` but must be a plain name"),
    ({"assets": {"a/b": ""}}, "asset name is `a/b`"),
    ({"assets": {".hidden": ""}}, "asset name is `.hidden`"),
    ({"assets": {"a.json": {"x": float("nan")}}}, "asset `a.json` is a dict that JSON cannot hold"),
    ({"assets": {"a.json": np.float32(1)}}, "asset `a.json` is a float32 that JSON cannot hold"),
    ({"keep": 0}, "`keep` is 0"),
    ({"warmup": {"enbed": {}}}, "`warmup` names signature `enbed` but the model has"),
    ({"warmup": {"embed": {"images": [b""]}}}, r"`warmup` gives signature `embed` the inputs \['images'\]"),
    ({"check": {"embed": {"image_bytes": [1.5]}}}, "input `image_bytes` of `embed`, is not of type string"),
    ({"check": {"embed": {"image_bytes": [[b""]]}}}, r"has shape \(1, 1\) but must fit \(None,\)"),
])
def test_bad_arguments_are_refused_before_anything_is_written(model, tmp_path, options, text):
    with pytest.raises(ValueError, match=text):
        write(model, tmp_path, **options)
    assert not (tmp_path / "task").exists()


def test_a_sample_that_the_live_model_refuses_is_named(model, tmp_path):
    with pytest.raises(ValueError, match="live model refuses the sample of signature `embed`: Unknown image"):
        write(model, tmp_path, check={"embed": {"image_bytes": [b"no image"]}})
    assert names(tmp_path) == []


def test_a_task_is_a_plain_name(model, tmp_path):
    with pytest.raises(ValueError, match="task is `a/b`"):
        export(str(tmp_path), "a/b", model.signatures, model.decoder, model.variables, {})
