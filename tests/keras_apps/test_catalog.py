import ast
import re
import subprocess
import sys

import pytest

from keras_apps import catalog
from keras_apps.build import ROOT, methods
from keras_apps.catalog import entries, folders


def built_from():
    """The folders that the suite's own calls of `build` name."""
    for path in (ROOT / "keras_apps").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "build":
                if node.args and isinstance(node.args[0], ast.Constant):
                    yield node.args[0].value


def test_every_folder_that_is_built_from_is_found():
    built = set(built_from())
    assert {"losses/metric", "tfrecords/samplers"} <= built
    missing = built - set(folders())
    assert not missing, f"{missing}: a file there does not define one public class with a docstring"


def test_every_method_has_an_entry():
    for folder in folders():
        assert len(list(entries(folder))) == len(methods(folder)) > 0


METHOD = 'class Public:\n    """A method."""\n\n\nclass _Private:\n    pass\n'


@pytest.mark.parametrize("other, follows", [
    (METHOD, True), ("", False), ("class Public:\n    pass\n", False), (METHOD + METHOD, False),
    ("def Public():\n    pass\n", False), ("import not_there\n\n\n" + METHOD, True)])
def test_a_new_folder_is_found_by_the_rule_alone(other, follows, tmp_path, monkeypatch):
    for place in ("keras_apps/losses/pixel", "keras_apps/no_package", "tfrecords/readers"):
        folder = tmp_path / place
        folder.mkdir(parents=True)
        if folder.name != "no_package":
            (folder / "__init__.py").write_text('"""A package."""\n')
        (folder / "one.py").write_text(METHOD)
        (folder / "two.py").write_text(other)
        (folder / "_shared.py").write_text("A = 1\n")
    for package in ("keras_apps", "keras_apps/losses", "tfrecords"):
        (tmp_path / package / "__init__.py").write_text('"""A package."""\n')
    monkeypatch.setattr(catalog, "ROOT", tmp_path)
    assert folders() == (["losses/pixel", "tfrecords/readers"] if follows else [])


def test_entries_can_be_pasted_into_a_config():
    call, line = next(entry for entry in entries("losses/metric") if entry[0].startswith("triplet("))
    assert call.startswith("triplet(margin=0.2, mining='batch_hard'") and line.startswith("Triplet loss")
    facts = "hierarchy(parents=None, weights='uniform', stop_inside=False)"
    assert dict(entries("heads"))[facts], "names and counts are told by the data"
    assert dict(entries("poolings"))["average()"], "arguments of a Keras base class are not the method's"


def test_the_command_prints_one_folder():
    done = subprocess.run([sys.executable, "-m", "keras_apps.catalog", "--folder=heads"], cwd=ROOT, capture_output=True,
                          text=True)
    assert done.returncode == 0 and "arcface(" in done.stdout and "small_cnn" not in done.stdout


@pytest.mark.parametrize("flag, told", [
    ("--folder=headz", "`headz` is not a folder of methods, .*; did you mean heads"),
    ("--folder=metrics", "`metrics` is not a folder of methods"),
])
def test_the_command_refuses_in_one_sentence(flag, told):
    done = subprocess.run([sys.executable, "-m", "keras_apps.catalog", flag], cwd=ROOT, capture_output=True,
                          text=True)
    assert done.returncode == 1 and done.stdout == "" and "Traceback" not in done.stderr
    assert re.match(f"error: {told}", done.stderr.splitlines()[-1])
