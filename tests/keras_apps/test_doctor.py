import types

import numpy as np
import pytest
import tensorflow as tf
from ml_collections import ConfigDict

from keras_apps import doctor
from keras_apps.doctor import Finding
from keras_apps.run import Run
from keras_apps.strategy import make_strategy
from tests.keras_apps.runs import small_config

STAGES = [{"name": "train", "steps": 100, "phases": {"train": 1}, "batch": 64, "size": 12}]


def only(findings):
    assert len(findings) == 1, findings
    return findings[0]


@pytest.fixture(scope="module")
def run(data):
    return Run(small_config(head="cosface()", batch=8), str(data), make_strategy("one"))


def test_every_finding_of_a_real_run_is_a_sentence_with_a_number(run, capsys):
    found = doctor.examine(run)
    for finding in found:
        assert finding.level in ("ok", "warn", "stop") and finding.text.endswith(".") and "\n" not in finding.text
        assert any(letter.isdigit() for letter in finding.text), finding
    assert found[0].level == "ok" and "a step needs about" in found[0].text
    doctor.show(found)
    lines = capsys.readouterr().out.splitlines()
    assert sorted(lines) == sorted(f"{finding.level:4} {finding.text}" for finding in found)
    levels = [line[:4].strip() for line in lines]
    assert levels == sorted(levels, key=["ok", "warn", "stop"].index), "what matters most stands last"


class Layers(tf.Module):
    """app.losses of one big matrix product and a ReLU: what is kept for the backward pass can be counted."""

    def __init__(self, inputs, width):
        super().__init__()
        self.first, self.second = tf.Variable(tf.ones([inputs, width])), tf.Variable(tf.ones([width, 1]))

    def variables(self, stage, phase):
        return {"network": [self.first, self.second]}

    def losses(self, phase, batch, seed, step):
        inner = tf.nn.relu(batch["image"] @ self.first)
        return {"loss_of_it": (inner @ self.second)[:, 0], "only_logged": tf.exp(inner)}, None

    def weights(self, phase, step):
        return {"loss_of_it": 1.0}


def test_activations_are_those_that_the_backward_pass_reads():
    batch, inputs, width = 50, 30, 400
    spec = {"image": tf.TensorSpec([batch, inputs])}
    found = doctor._traced(Layers(inputs, width), STAGES[0], "train", spec)
    # Kept: the images and the ReLU's output (of which the product's input is the same). Largest gradient: [b, width].
    assert 4 * batch * (inputs + width) + 4 * 4 * batch * width <= found <= 1.1 * 4 * batch * (inputs + 5 * width)


def test_memory_grows_with_the_batch_and_stops_where_it_does_not_fit(run, monkeypatch):
    stage = run.app.stages()[0]
    small, large = (doctor._activations(run, {**stage, "batch": batch}, 1) for batch in (8, 80))
    assert 8 < large / small < 10.5
    sizes = {}
    for free in (10 ** 12, 1):
        monkeypatch.setattr(doctor, "free_memory", lambda free=free: free)
        sizes[free] = doctor.memory(run, [stage])
    assert sizes[10 ** 12].level == "ok" and sizes[1].level == "stop"
    assert "use a smaller `batch` or `size`" in sizes[1].text
    monkeypatch.setattr(doctor, "free_memory", lambda: None)
    assert doctor.memory(run, [stage]) == Finding("ok", sizes[1].text.split(";")[0] + "; how much is free is not known "
                                                  "here.")


def test_free_memory_is_the_containers_where_it_has_less(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemFree: 1 kB\nMemAvailable:    2000 kB\n")
    ask = (str(tmp_path / "meminfo"), str(tmp_path))
    assert doctor.free_memory(*ask) == 2000 * 1024
    (tmp_path / "memory.current").write_text("400\n")
    for limit, free in (("max", 2000 * 1024), ("1000", 600), (str(10 ** 12), 2000 * 1024)):
        (tmp_path / "memory.max").write_text(limit + "\n")
        assert doctor.free_memory(*ask) == free
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.stat").write_text("anon 90\ninactive_file 300\nactive_file 10\n")
    assert doctor.free_memory(*ask) == 900, "pages of files are given up when memory is wanted"
    assert doctor.free_memory(str(tmp_path / "none"), str(tmp_path / "none")) is None


def test_free_gpu_asks_nvidia_smi(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.free_gpu() is None
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 8000\necho 300\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert doctor.free_gpu() == 300 * 2 ** 20


@pytest.mark.parametrize("name, machine, level", [
    ("float32", set(), "ok"), ("float16", {"gpu"}, "ok"), ("float16", {"avx512_bf16"}, "warn"),
    ("bfloat16", {"avx512_bf16"}, "ok"), ("bfloat16", {"amx_bf16"}, "ok"), ("bfloat16", {"avx2"}, "warn"),
])
def test_precision_that_the_cpu_lacks(name, machine, level):
    found = doctor.precision(name, machine)
    assert found.level == level and name in found.text
    assert ("use float32 or bfloat16" in found.text) == (name == "float16" and machine == {"avx512_bf16"})


@pytest.mark.parametrize("rows, group, classes, level, message", [
    ([0, 1, 4, 5], 2, 4, "ok", "a batch of 4 is 2 classes x 2 images (2 of 4 classes in the first one)"),
    ([0, 1, 2, 3, 0, 1, 2, 3], 2, 1, "warn", "a batch of 8 is 4 classes x 2 images but there are 1 classes"),
    ([0, 1, 2, 3], 4, 4, "warn", "no pair of different classes; use `batch`=8 or more"),
])
def test_p_times_k(rows, group, classes, level, message):
    labels = np.repeat(np.arange(classes), 4)
    found = only(doctor.groups(np.array(rows), labels, group, f"pk(images={group})"))
    assert found.level == level and message in found.text


def test_batches_without_groups_tell_who_is_alone():
    labels = np.array([0, 0, 1, 2, -1])
    assert "2 of the 5 images of the first batch have no other" in only(
        doctor.groups(np.arange(5), labels, 1, "shuffle()")).text
    assert doctor.groups(np.array([0, 1]), labels, 1, "shuffle()") == []
    assert "2 groups of 2 (`views()`)" in only(doctor.groups(np.arange(4), labels, 2, "views()")).text


@pytest.mark.parametrize("text, schedule, level", [
    ("adam(rate=1e-3)", "constant()", "ok"), ("adam(rate=9.9e-3)", "constant()", "ok"),
    ("adam(rate=1.1e-2)", "constant()", "warn"), ("adam(rate=0.9e-4)", "constant()", "warn"),
    ("adam(rate=5e-3)", "cosine(warmup=50)", "ok"), ("sgd(rate=0.025)", "constant()", "ok"),
    ("sgd(rate=0.3)", "constant()", "warn"), ("sgd(rate=1e-3)", "constant()", "warn"),
])
def test_rates_beside_the_rule_of_the_batch(text, schedule, level):
    config = ConfigDict({"optimizers": {"network": text}, "schedule": schedule})
    found = only(doctor.rates(config, STAGES))
    assert found.level == level and "batches of 64" in found.text
    usual = {"adam": "0.001", "sgd": "0.025"}[text.split("(")[0]]
    assert f"is about {usual}" in found.text


def test_the_rule_of_the_batch_follows_the_batch_and_knows_two_optimizers():
    config = ConfigDict({"optimizers": {"network": "adam(rate=1e-3)", "head": "sgd(rate=1.0)"},
                         "schedule": "constant()"})
    sgd, adam = doctor.rates(config, [{**STAGES[0], "batch": 6400}])        # in the order of their groups' names
    assert "is about 0.01" in adam.text and "is about 2.5" in sgd.text
    config.optimizers = {"network": "lars(rate=5.0)", "center": "sgd(rate=0.5)"}
    assert doctor.rates(config, STAGES) == []


@pytest.mark.parametrize("schedule, warns", [("constant()", False), ("cosine(warmup=10)", False),
                                             ("cosine(warmup=11)", True), ("cosine()", False)])
def test_a_long_warm_up(schedule, warns):
    found = doctor.warmup(types.SimpleNamespace(schedule=schedule), 100)
    assert bool(found) == warns
    if warns:
        assert "the warm-up takes 11 of 100 steps, 11%; use at most 10" in found[0].text


def test_classes_with_too_few_images():
    labels = np.r_[np.repeat([0, 1, 2], 10), -1, -1]
    assert only(doctor.classes(labels, list("abc"), 4)).text == "3 classes with 10 to 10 images, 10 in the middle."
    found = doctor.classes(np.array([0, 0, 0, 1, 2, 2, -1]), list("abc"), 3)
    assert [finding.level for finding in found] == ["ok", "warn", "warn"]
    assert "1 of 3 classes have a single image (such as b)" in found[1].text
    assert "2 of 3 classes have fewer than the 3 images that the sampler takes" in found[2].text


@pytest.mark.parametrize("count, level, message", [
    (640, "ok", "6,400 draws of 640 images: each is seen about 10 times"),
    (12800, "warn", "only 50% of them are seen; use 200 steps or more"),
    (6, "warn", "each is seen 1,067 times"),
])
def test_how_often_an_image_is_seen(count, level, message):
    found = only(doctor.epochs(STAGES, count))
    assert found.level == level and message in found.text


class Held:
    def __init__(self, identities, cases=None, roles=None):
        self.rows, self.identities = np.arange(len(identities)), np.array(identities)
        self.columns = {"case": cases, "role": roles}

    def column(self, name):
        values = self.columns[name]
        return None if values is None else np.array(values)


def test_pairs_of_the_held_out_images_equal_the_loop():
    identities = np.random.default_rng(0).integers(0, 15, 120)
    pairs = [(identities[i] == identities[j]) for i in range(120) for j in range(i)]
    found = only(doctor.held_out(Held(identities)))
    assert found.level == "ok"
    assert f"{sum(pairs):,} same and {len(pairs) - sum(pairs):,} different pairs" in found.text
    cases = np.arange(120) // 60        # episodes are compared inside their case only
    inside = [(identities[i] == identities[j]) for i in range(120) for j in range(i) if cases[i] == cases[j]]
    text = doctor.held_out(Held(identities, cases, np.zeros(120)))[0].text
    assert f"{sum(inside):,} same and {len(inside) - sum(inside):,} different pairs" in text


def test_too_little_is_held_out():
    assert "nothing is held out" in only(doctor.held_out(None)).text
    assert "too few for a threshold" in only(doctor.held_out(Held([0, 0, 1, 1]))).text
    found = doctor.held_out(Held(np.repeat(np.arange(5), 20)))
    assert [finding.level for finding in found] == ["ok", "warn"] and "only 5 identities" in found[1].text


def test_more_labels_to_choose_by_than_to_learn_from_are_told():
    few, all_of_them = (types.SimpleNamespace(labels=labels) for labels in (4, 0))
    found = only(doctor.chosen_by(few, 12, Held(np.arange(20) // 5)))
    assert found.level == "warn" and "leaves 12 images to train on but 20 labelled ones choose" in found.text
    assert doctor.chosen_by(few, 20, Held(np.arange(20) // 5)) == doctor.chosen_by(few, 12, None) == []
    assert doctor.chosen_by(all_of_them, 12, Held(np.arange(20) // 5)) == []
