"""Runs one test file under Bazel with pyproject's options: bazel_main.py FILE [pytest options]."""

import os
import sys

import pytest


def options(words, environment):
    """pytest's command line for Bazel's arguments and test environment."""
    found = ["-q", "-p", "no:cacheprovider", "-c", "pyproject.toml", "-m", "not slow"]
    if environment.get("XML_OUTPUT_FILE"):
        found.append(f"--junitxml={environment['XML_OUTPUT_FILE']}")
    if environment.get("TESTBRIDGE_TEST_ONLY"):  # bazel test --test_filter=WORDS
        found += ["-k", environment["TESTBRIDGE_TEST_ONLY"]]
    return found + words


if __name__ == "__main__":
    # Python puts this file's folder first: there tests/serving would stand beside the real serving.
    sys.path.pop(0)
    ended = pytest.main(options(sys.argv[1:], os.environ))
    # A file whose tests are all slow has nothing to run here, which is no failure.
    sys.exit(0 if ended == pytest.ExitCode.NO_TESTS_COLLECTED else int(ended))
