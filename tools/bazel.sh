#!/bin/sh
# bazel.sh [bazel's arguments]: all tests under Bazel by default. Bazel 4.2.3 tested, offline; 5-7 expected; 8+ not.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd)

fail() {
    echo "error: $1" >&2
    exit 1
}

command -v bazel > /dev/null 2>&1 || fail "no bazel found; install Debian's bazel-bootstrap, or Bazel 5-7."
export SUITE_PYTHON="${SUITE_PYTHON:-$root/.venv/bin/python}"
[ -x "$SUITE_PYTHON" ] || fail "SUITE_PYTHON is $SUITE_PYTHON, which is no program; run \`make venv\` or unset it."
# Tests run in a copy of the tree, where a relative path or pytest's default leads nowhere.
data="${SUITE_DATA:-../shared/data}"
unset SUITE_DATA
if [ -d "$data" ]; then
    SUITE_DATA=$(cd "$data" && pwd)
    export SUITE_DATA
fi

# Written anew each time: it holds absolute paths, and the folder or Bazel may have changed since.
draft="offline.bazelrc.$$"
trap 'rm -f "$draft"' EXIT
version=$(bazel --version)
case "$version" in
"bazel 4."* | "bazel no_version"*) # Debian's bazel-bootstrap 4.2.3 does not know its own version.
    for name in rules_cc rules_java remote_coverage_tools; do
        echo "build \"--override_repository=$name=$root/tools/offline/$name\""
    done > "$draft"
    ;;
"bazel 5."* | "bazel 6."*) : > "$draft" ;;
"bazel 7."*) echo "common --noenable_bzlmod" > "$draft" ;;
*) fail "this is $version but the WORKSPACE needs Bazel 4-7; install one of those." ;;
esac
mv "$draft" offline.bazelrc
trap - EXIT

[ $# -gt 0 ] || set -- test //...
exec bazel "$@"
