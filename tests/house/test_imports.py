"""Imports point one way: tfrecords <- keras_apps (commands -> saved_models), saved_models <- serving.

One file of saved_models reads images, by three modules of tfrecords, and one reads records; how a command starts is one
module for all.
"""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
OURS = {"tfrecords", "keras_apps", "saved_models", "serving", "benchmarks", "demo", "tools", "tests"}
ALLOWED = {"tfrecords": {"tfrecords"}, "keras_apps": {"keras_apps", "tfrecords"}, "saved_models": {"saved_models"},
           "serving": {"serving", "saved_models"}}
EXCEPTIONS = {"saved_models/gallery.py": {"tfrecords.files", "tfrecords.sources.folder", "tfrecords.examine"},
              "saved_models/predict.py": {"tfrecords.read"}}
COMMON = "tfrecords.command"
FILES = sorted(path.relative_to(ROOT) for folder in ALLOWED for path in (ROOT / folder).rglob("*.py"))


def imports(path):
    """Modules a file imports anywhere, functions included."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def is_command(path):
    return '__name__ == "__main__"' in (ROOT / path).read_text()


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_imports_only_what_its_folder_may(path):
    allowed = set(ALLOWED[path.parts[0]])
    if path.parts[0] == "keras_apps" and is_command(path):
        allowed.add("saved_models")
    excepted = EXCEPTIONS.get(path.as_posix(), set())
    for module in imports(path):
        top = module.split(".")[0]
        known = module in (*excepted, COMMON) or module.rpartition(".")[0] in excepted
        known |= module == "tfrecords" and COMMON in imports(path)       # `from tfrecords import command`
        assert top not in OURS or top in allowed or known, f"{path} imports {module}"


@pytest.mark.parametrize("path", EXCEPTIONS)
def test_an_exception_is_no_wider_than_what_is_imported(path):
    assert EXCEPTIONS[path] <= set(imports(pathlib.Path(path)))


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[:2] == ("keras_apps", "apps")], ids=str)
def test_apps_never_import_apps(path):
    assert not [name for name in imports(path) if name.startswith("keras_apps.apps")]


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[:2] in (
    ("keras_apps", "losses"), ("keras_apps", "heads"))], ids=str)
def test_methods_know_neither_apps_nor_configs_nor_distribution(path):
    text = (ROOT / path).read_text()
    assert "tf.distribute" not in text
    assert not [name for name in imports(path) if name.startswith(("keras_apps.apps", "keras_apps.config"))]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_addons_and_keras_cv_stay_in_their_places(path):
    tops = {name.split(".")[0] for name in imports(path)}
    if "keras_cv" in tops:
        assert path == pathlib.Path("keras_apps/backbones/keras_cv.py")
    if "tensorflow_addons" in tops:
        assert path.parts[:2] in (("keras_apps", "optimizers"), ("keras_apps", "layers"), ("keras_apps", "heads"))
