#!/bin/sh
# The interpreter of every py_test: .venv, named by tools/bazel.sh.
exec "${SUITE_PYTHON:-python3}" "$@"
