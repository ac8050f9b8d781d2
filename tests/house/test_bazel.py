"""Bazel's files cover every module and test, name what these need and hold no absolute path.

Bazel itself never runs here.
"""

import ast
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

# Resolved, as Bazel's own copy of the tree leaves tools/offline and the BUILD file of the tests out.
ROOT = pathlib.Path(__file__).resolve().parents[2]
IGNORED = set((ROOT / ".bazelignore").read_text().split())
BUILDS = {"BUILD", "BUILD.bazel"}


def files_below(folder, ignored=frozenset(), cut=False):
    """Relative paths of all files; `cut` leaves out folders that are packages of their own, as glob does."""
    for place, folders, names in os.walk(folder):
        place = pathlib.Path(place)
        folders[:] = [name for name in folders if name != "__pycache__"
                      and (place / name).relative_to(folder).as_posix() not in ignored
                      and not (cut and any((place / name / build).exists() for build in BUILDS))]
        yield from ((place / name).relative_to(folder).as_posix() for name in names)


def glob(folder, patterns, exclude=(), ignored=frozenset()):
    def regex(pattern):
        words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
        return "".join(words.get(part) or re.escape(part) for part in re.split(r"(\*\*/|\*\*|\*)", pattern))

    wanted, unwanted = ("|".join(regex(pattern) for pattern in some) for some in (patterns, exclude))
    return [path for path in files_below(folder, ignored, cut=True)
            if re.fullmatch(wanted, path) and not (exclude and re.fullmatch(unwanted, path))]


class Package:
    """One BUILD file, run: what is used of Bazel's language means the same in Python."""

    def __init__(self, folder):
        self.name, self.targets = folder, []
        names = {kind: self.rule(kind) for kind in ("py_library", "py_test", "test_suite")}
        names["glob"] = lambda patterns, exclude=(): glob(ROOT / folder, patterns, exclude, IGNORED)
        names["package_name"] = lambda: folder
        names["exports_files"] = lambda files: None
        names["native"] = type("native", (), {name: staticmethod(call) for name, call in names.items()})
        names["load"] = lambda label, *wanted: run(label.strip("/").replace(":", "/"))

        def run(path):
            exec((ROOT / path).read_text(), names)

        run(f"{folder}/BUILD.bazel")

    def rule(self, kind):
        return lambda **facts: self.targets.append({"kind": kind, **facts})

    def of(self, kind):
        return {target["name"]: target for target in self.targets if target["kind"] == kind}


FOLDERS = sorted(path.name for path in ROOT.iterdir()
                 if path.is_dir() and path.name not in IGNORED and not path.name.startswith((".", "bazel-"))
                 and any(name.endswith(".py") for name in files_below(path)))
PACKAGES = {folder: Package(folder) for folder in FOLDERS if (ROOT / folder / "BUILD.bazel").exists()}
LIBRARIES = {folder: package.of("py_library")[folder]
             for folder, package in PACKAGES.items() if folder != "tests"}
TESTS = PACKAGES["tests"].of("py_test")
TEST_FILE = re.compile(r"(?:.*/)?test_\w+\.py")


def reachable(labels):
    """Library folders behind the labels."""
    found = set()
    for folder in (label[2:] for label in labels if label[2:] in LIBRARIES):
        found |= {folder} | reachable(LIBRARIES[folder].get("deps", ()))
    return found


def used(path, seen=None):
    """Library folders whose modules a file imports or names, its conftests and helpers included."""
    seen = set() if seen is None else seen
    if path in seen or not path.exists():
        return set()
    seen.add(path)
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [node.module, *(f"{node.module}.{name.name}" for name in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names += re.findall(r"^\w+(?:\.\w+)+$", node.value)  # "keras_apps.train" after "-m"
    found = {name.split(".")[0] for name in names} & set(LIBRARIES)
    helpers = [ROOT / f"{name.replace('.', '/')}.py" for name in names if name.startswith("tests.")]
    if (ROOT / "tests") in path.parents:
        helpers += [folder / "conftest.py" for folder in path.parents if ROOT in folder.parents]
    return found.union(*(used(helper, seen) for helper in helpers))


def test_every_folder_of_code_is_a_package():
    assert sorted(PACKAGES) == FOLDERS


def test_every_module_belongs_to_its_folders_library():
    for folder, library in LIBRARIES.items():
        modules = sorted(name for name in files_below(ROOT / folder, {"offline"}) if name.endswith(".py"))
        # Data sets and exported versions are no code, whatever lies in them.
        modules = [name for name in modules if not name.startswith(("data/", "models/"))]
        assert sorted(library["srcs"]) == modules, folder


def test_every_test_file_is_a_target_and_in_the_suite_of_its_folder():
    files = sorted(name[:-len(".py")] for name in files_below(ROOT / "tests") if TEST_FILE.fullmatch(name))
    assert sorted(TESTS) == files and len(files) > 40
    in_suites = [name[1:] for suite in PACKAGES["tests"].of("test_suite").values() for name in suite["tests"]]
    assert sorted(in_suites) == [name for name in files if "/" in name]
    for name, target in TESTS.items():
        assert target["args"] == [f"tests/{name}.py"] and target["main"] in target["srcs"]
        assert "//:pyproject.toml" in target["data"]


def test_helpers_of_tests_are_all_in_the_library_beside_them():
    helpers = [name for name in files_below(ROOT / "tests")
               if name.endswith(".py") and not TEST_FILE.fullmatch(name) and name != "bazel_main.py"]
    assert sorted(PACKAGES["tests"].of("py_library")["support"]["srcs"]) == sorted(helpers)
    assert all(":support" in target["deps"] for target in TESTS.values())


@pytest.mark.parametrize("folder", LIBRARIES)
def test_a_library_depends_on_what_it_imports(folder):
    for name in LIBRARIES[folder]["srcs"]:
        missing = used(ROOT / folder / name) - reachable([f"//{folder}"])
        assert not missing, f"{folder}/{name} needs {sorted(missing)} in deps of {folder}/BUILD.bazel"


@pytest.mark.parametrize("name", TESTS)
def test_a_test_depends_on_what_it_imports(name):
    missing = used(ROOT / "tests" / f"{name}.py") - reachable(TESTS[name]["deps"])
    assert not missing, f"tests/{name}.py needs {sorted(missing)} in tests/BUILD.bazel"


def test_glob_stops_at_packages_and_ignored_folders(tmp_path):
    for name in ("a.py", "b/c.py", "own/BUILD", "own/d.py", "left/e.py", "b/f.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert sorted(glob(tmp_path, ["**/*.py"], ignored={"left"})) == ["a.py", "b/c.py"]
    assert glob(tmp_path, ["*"]) == ["a.py"]
    assert glob(tmp_path, ["**"], ["**/*.py", "left/**"]) == ["b/f.txt"]


def test_no_absolute_path_is_kept():
    kept = [ROOT / name for name in ("WORKSPACE", ".bazelrc", ".bazelignore", "BUILD.bazel")]
    kept += [ROOT / folder / "BUILD.bazel" for folder in PACKAGES]
    kept += [ROOT / "tools" / "bazel.sh", *(ROOT / "tools").glob("*.bzl")]
    for part in ("offline", "python"):
        kept += [path for path in (ROOT / "tools" / part).rglob("*") if path.is_file()]
    pattern = re.compile(r"(?<![\w./*@%})\]])/\w[\w./-]*")
    assert pattern.findall('x=/home/me "/opt/y" //tools:z a/b') == ["/home/me", "/opt/y"]
    for path in kept:
        found = set(pattern.findall(path.read_text())) - {"/bin/sh", "/usr/bin/env", "/dev/null"}
        assert not found, f"{path.relative_to(ROOT)} holds {found}"
    assert "offline.bazelrc" in (ROOT / ".gitignore").read_text().split()


def fake_suite(folder, version):
    """A copy of the scripts and a `bazel` that says its version and what it was asked."""
    shutil.copytree(ROOT / "tools", folder / "a suite/tools", ignore=shutil.ignore_patterns("__pycache__"))
    programs = folder / "programs"
    programs.mkdir()
    for name in ("sh", "dirname", "mv", "rm"):
        (programs / name).symlink_to(shutil.which(name))
    if version:
        says = f'[ "$1" = --version ] && echo "{version}" && exit\necho "$SUITE_PYTHON, $SUITE_DATA: $*"\n'
        (programs / "bazel").write_text(f"#!{shutil.which('sh')}\n{says}")
        (programs / "bazel").chmod(0o755)
    return folder / "a suite"


def run_script(suite, *words, python=sys.executable, **environment):
    environment |= {"PATH": str(suite.parent / "programs"), "SUITE_PYTHON": python}
    return subprocess.run(["sh", "tools/bazel.sh", *words], cwd=suite, env=environment, text=True,
                          capture_output=True)


@pytest.mark.parametrize("version, lines", [("bazel 4.2.3", 3), ("bazel no_version", 3), ("bazel 6.5.0", 0),
                                            ("bazel 7.1.0", 1)])
def test_the_script_writes_what_its_bazel_needs(tmp_path, version, lines):
    suite = fake_suite(tmp_path, version)
    done = run_script(suite)
    assert (done.returncode, done.stdout) == (0, f"{sys.executable}, : test //...\n"), done.stderr
    written = (suite / "offline.bazelrc").read_text().splitlines()
    assert len(written) == lines
    if lines == 3:
        for line in written:
            name, path = re.fullmatch(r'build "--override_repository=(\w+)=(.+)"', line).groups()
            assert pathlib.Path(path) == suite / "tools" / "offline" / name
            assert f'workspace(name = "{name}")' in (pathlib.Path(path) / "WORKSPACE").read_text()
    asked = run_script(suite, "query", "//tests:all", SUITE_DATA="tools/python").stdout
    assert asked == f"{sys.executable}, {suite / 'tools' / 'python'}: query //tests:all\n"
    assert sorted(path.name for path in suite.iterdir()) == ["offline.bazelrc", "tools"]


@pytest.mark.parametrize("version, python, said", [
    (None, sys.executable, "error: no bazel found"), ("bazel 8.0.1", sys.executable, "bazel 8.0.1"),
    ("bazel 4.2.3", "/no/python", "SUITE_PYTHON is /no/python"),
])
def test_the_script_says_in_one_sentence_what_is_missing(tmp_path, version, python, said):
    suite = fake_suite(tmp_path, version)
    done = run_script(suite, python=python)
    assert done.returncode == 1 and said in done.stderr and done.stderr.count("\n") == 1
    assert [path.name for path in suite.iterdir()] == ["tools"]


def test_the_stand_ins_bind_each_name_to_the_built_in_rule():
    for path in (ROOT / "tools" / "offline").rglob("defs.bzl"):
        bound = re.findall(r"^(\w+) = native\.(\w+)$", path.read_text(), re.M)
        assert len(bound) == 8 and all(name == rule for name, rule in bound)
        assert (path.parent / "BUILD").read_text() == ""
    assert "coverage_report_generator" in (ROOT / "tools/offline/remote_coverage_tools/BUILD").read_text()
    assert os.access(ROOT / "tools" / "python" / "host_python.sh", os.X_OK)


@pytest.mark.parametrize("code, words, ended, said", [
    ("def test_a(): pass", [], 0, "1 passed"),
    ("def test_a(): assert False", [], 1, "1 failed"),
    ("import pytest\n@pytest.mark.slow\ndef test_a(): assert False", [], 0, "1 deselected"),
    ("import pytest\n@pytest.mark.slow\ndef test_a(): assert False", ["-m", "slow"], 1, "1 failed"),
    ("import pytest\n@pytest.mark.unknown\ndef test_a(): pass", [], 2, "'unknown' not found in `markers`"),
    ("import nowhere", [], 2, "No module named 'nowhere'"),
])
def test_the_main_file_runs_one_file_with_pyprojects_options(tmp_path, code, words, ended, said):
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "bazel_main.py", tmp_path / "tests")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests" / "test_a.py").write_text(code)
    (tmp_path / "tests" / "test_other.py").write_text("def test_b(): assert False")
    report = tmp_path / "report.xml"
    done = subprocess.run([sys.executable, "tests/bazel_main.py", "tests/test_a.py", *words], cwd=tmp_path,
                          env={**os.environ, "XML_OUTPUT_FILE": str(report)}, capture_output=True, text=True)
    assert done.returncode == ended and said in done.stdout, done.stdout + done.stderr
    assert report.exists()
