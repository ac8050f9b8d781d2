#!/bin/sh
# Makes .venv from requirements.txt: again when the lock changed, untouched otherwise.
set -eu
cd "$(dirname "$0")/.."
stamp=".venv/lock-$(cksum < requirements.txt | tr ' ' '-')"
[ -e "$stamp" ] && exit 0
for python in python3.11 python3 python; do
    if command -v "$python" > /dev/null 2>&1 &&
        "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' > /dev/null 2>&1; then
        echo "making .venv with $python (about a minute, 2 GB)" >&2
        rm -rf .venv
        "$python" -m venv .venv
        .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
        touch "$stamp"
        exit 0
    fi
done
if command -v uv > /dev/null 2>&1; then
    echo "making .venv with uv (about a minute, 2 GB)" >&2
    rm -rf .venv
    uv venv --quiet --python 3.11 .venv
    uv pip install --quiet --python .venv/bin/python -r requirements.txt
    touch "$stamp"
    exit 0
fi
echo "error: no Python 3.11 with venv found; install python3.11 and python3.11-venv, or uv, and run the command again." >&2
exit 1
