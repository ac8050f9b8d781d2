"""No config is dead: each builds on small data and traces one step, and its docstring says what to type."""

import importlib.util
import pathlib
import re
import shlex

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_apps.build import parse
from keras_apps.config import base, flat
from keras_apps.run import Run
from tfrecords.decode import height_and_width
from tfrecords.sources.folder import FolderSource
from tfrecords.sources.ring import RingSource
from tfrecords.write import write

ROOT = pathlib.Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "keras_apps" / "configs").glob("*/*.py"))


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data_of(tmp_path_factory):
    """(config path) -> folder of tiny data that meet what the config's keys ask for, written when first asked for."""
    written = {}

    def find(path):
        make = {"fake_image_detection": fakes, "image_generation": ring if path.stem == "ring" else objects,
                "small_sample_diagnosis": patients}.get(path.parent.name, identities)
        if make not in written:
            folder = tmp_path_factory.mktemp("configs")
            write([make(folder)], folder / "data")
            written[make] = folder / "data"
        return written[make]
    return find


def images(folder, names):
    """Noise of 12 x 12 pixels under these names."""
    random = np.random.default_rng(0)
    for name in names:
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (12, 12), np.uint8)).save(path)
    return folder / "images"


def identities(folder):
    """Thirty identities named by numbers, in three splits, seen by two cameras."""
    names = [f"{'train' if identity < 20 else 'val' if identity < 25 else 'test'}/{identity}/"
             f"{number}_cam{number % 2 + 1}_{number // 2}.png" for identity in range(30) for number in range(4)]
    pattern = r"(?P<split>train|val|test)/(?P<identity>\d+)/\d+_cam(?P<camera>\d)_(?P<orientation>\d)"
    return FolderSource(images(folder, names), pattern)


def objects(folder):
    """Ten classes of twenty images, in two splits."""
    names = [f"{'train' if number < 14 else 'test'}/{label}/{number}.png" for label in range(10)
             for number in range(20)]
    return FolderSource(images(folder, names), r"(?P<split>train|test)/(?P<label>\d)/")


def patients(folder):
    """Two classes of forty images, three a case, in three splits."""
    names = [f"{'train' if number < 27 else 'val' if number < 33 else 'test'}/{label}/{label}{number // 3}_{number}.png"
             for label in range(2) for number in range(40)]
    return FolderSource(images(folder, names), r"(?P<split>train|val|test)/(?P<label>\d)/(?P<case>\d+)_")


def ring(folder):
    return RingSource(points=20)


def fakes(folder):
    """Real images and those of three generators, in three splits."""
    names = [f"{'train' if number < 14 else 'val' if number < 17 else 'test'}/{kind}/{number}.png"
             for kind in ("real/real", "fake/a", "fake/b", "fake/c") for number in range(20)]
    return FolderSource(images(folder, names), r"(?P<split>train|val|test)/(?P<label>real|fake)/(?P<source>\w+)/")


def large(path):
    """Networks of published size take up to half a minute to build."""
    return np.max(load(path).get_config().size) > 144 or path.stem.endswith("_64")


def choices(path):
    """What a config chooses: its methods and the terms that have a weight, each with its app."""
    config = load(path).get_config()
    for key, value in flat(config.to_dict()).items():
        if key.startswith("weights.") and value:
            yield config.app, key
        for text in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(text, str) and re.fullmatch(r"\w+\(.*\)", text):
                yield config.app, key, parse(text)[0]


def traced():
    """Tracing all would take minutes: of each application the config with most choices for its size; else when slow."""
    left = [path for path in CONFIGS if not large(path)]
    worth = {path: (len(set(choices(path))) / float(np.prod(height_and_width(load(path).get_config().size))) ** 0.25,
                    path.stem) for path in left}
    return [max((path for path in left if path.parent == folder), key=worth.get)
            for folder in sorted({path.parent for path in left})]


def built(path, data_of):
    config = load(path).get_config()
    assert set(base()) <= set(config), "a config starts from config.base()"
    run = Run(config, str(data_of(path)), tf.distribute.get_strategy())
    assert run.splits["test"].rows.size
    return run, run.loop(None)


def cases(slow):
    return [pytest.param(path, marks=[pytest.mark.slow] if slow(path) else [], id=f"{path.parent.name}/{path.stem}")
            for path in CONFIGS]


TRACED = traced()


@pytest.mark.parametrize("path", cases(lambda path: large(path) or path in TRACED))
def test_a_config_builds(path, data_of):
    built(path, data_of)


@pytest.mark.parametrize("path", cases(lambda path: path not in TRACED))
def test_a_config_builds_and_traces_one_step(path, data_of):
    run, loop = built(path, data_of)
    for stage in loop.stages:
        iterator = iter(run.batches(stage).dataset(0))
        loop.arithmetic.function(stage).get_concrete_function(iterator)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_docstring_holds_the_commands(path):
    text = load(path).__doc__.replace("\\\n", " ")
    lines = [shlex.split(line) for line in text.splitlines() if line.strip().startswith("python -m")]
    train = next(words for words in lines if words[2] == "keras_apps.train")
    assert f"--config={path.relative_to(ROOT)}" in train
    write_words = next(words for words in lines if words[2] == "tfrecords.write")
    out = next(word for word in write_words if word.startswith("--out="))
    assert f"--data={out[len('--out='):]}" in train


def source_of(module):
    path = ROOT / module.replace(".", "/")
    return (path / "__main__.py" if path.is_dir() else path.with_suffix(".py")).read_text()


def test_commands_in_readme_and_configs_name_modules_and_flags_that_exist():
    texts = [(ROOT / "README.md").read_text(), *(load(path).__doc__ for path in CONFIGS)]
    found = 0
    for line in "\n".join(texts).replace("\\\n", " ").splitlines():
        match = re.match(r"\s*python -m ([\w.]+)(.*)", line)
        if match:
            own, _, handed_on = match[2].partition(" -- ")
            for module, words in ((match[1], own), ("keras_apps.train", handed_on)):
                source = source_of(module)
                for flag in re.findall(r"--([a-z_]+)", words):
                    assert re.search(rf'DEFINE_\w+\(\s*"{flag}"', source) or f'"{flag}"' in source, f"{module} --{flag}"
            found += 1
    assert found >= 10
