"""One library a package folder, one test a test file: a new file needs no edit of any BUILD file."""

def suite_library(name, deps = [], artifacts = []):
    """Everything in the folder: modules as sources, the rest (deploy files, READMEs) as data.

    Args:
      name: the folder's own name.
      deps: libraries of the folders it imports or starts commands of.
      artifacts: globs of written data and exported models, which are no input of a test.
    """
    native.py_library(
        name = name,
        srcs = native.glob(["**/*.py"], exclude = artifacts),
        data = native.glob(["**"], exclude = ["**/*.py", "**/__pycache__/**"] + artifacts),
        visibility = ["//visibility:public"],
        deps = deps,
    )

def suite_tests(under_test, otherwise):
    """One py_test a `test_*.py` and one test_suite a folder: `//tests:tfrecords/test_read`, `//tests:tfrecords`.

    Args:
      under_test: {folder below tests: what its tests import or start}; the deepest folder named holds.
      otherwise: the same for all other tests.
    """
    native.py_library(
        name = "support",
        testonly = True,
        srcs = native.glob(["**/*.py"], exclude = ["**/test_*.py", "bazel_main.py"]),
    )
    folders = {}
    for path in native.glob(["**/test_*.py"]):
        parts = path.split("/")
        name = path[:-len(".py")]
        libraries = otherwise
        for depth in range(1, len(parts)):
            libraries = under_test.get("/".join(parts[:depth]), libraries)
        native.py_test(
            name = name,
            # Seconds each on a free machine; .bazelrc leaves time for a loaded one.
            size = "small",
            srcs = ["bazel_main.py", path],
            args = [native.package_name() + "/" + path],
            data = ["//:pyproject.toml"],
            main = "bazel_main.py",
            deps = [":support"] + libraries,
        )
        if len(parts) > 1:
            folders[parts[0]] = folders.get(parts[0], []) + [":" + name]
    for folder, names in folders.items():
        native.test_suite(name = folder, tests = names)
