"""tools/venv.sh with stand-ins for Python and uv; nothing is installed."""

import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Answers the question for its version, makes a .venv whose own python notes what it installs.
PYTHON = """#!{sh}
case "$1 $2" in
    "-c "*) exit {unfit} ;;
    "-m venv")
        echo "{name} $*" >> log
        mkdir -p "$3/bin"
        printf '#!{sh}\\necho "pip $*" >> log\\nexit {fails}\\n' > "$3/bin/python"
        chmod +x "$3/bin/python" ;;
esac
"""
UV = """#!{sh}
echo "uv $*" >> log
[ "$1" = venv ] && mkdir -p .venv
exit {fails}
"""


@pytest.fixture
def suite(tmp_path):
    """The script and a lock in a folder of their own, and a PATH of nothing but what the script needs."""
    folder = tmp_path / "a suite"
    (folder / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "venv.sh", folder / "tools")
    (folder / "requirements.txt").write_text("tensorflow==2.15.1\n")
    (tmp_path / "programs").mkdir()
    for name in ("sh", "dirname", "cksum", "tr", "rm", "touch", "mkdir", "chmod"):
        (tmp_path / "programs" / name).symlink_to(shutil.which(name))
    return folder


def program(suite, name, text=PYTHON, unfit=0, fails=0):
    path = suite.parent / "programs" / name
    path.write_text(text.format(sh=shutil.which("sh"), name=name, unfit=unfit, fails=fails))
    path.chmod(0o755)


def run(suite):
    """Runs the script from elsewhere; the lines its stand-ins wrote this time come with it."""
    (suite / "log").write_text("")
    done = subprocess.run(["sh", str(suite / "tools" / "venv.sh")], cwd="/", capture_output=True, text=True,
                          env={"PATH": str(suite.parent / "programs")})
    return done, (suite / "log").read_text().splitlines()


def stamps(suite):
    return [path.name for path in (suite / ".venv").glob("lock-*")]


INSTALLED = ["python3.11 -m venv .venv", "pip -m pip install --quiet --disable-pip-version-check -r requirements.txt"]


@pytest.mark.parametrize("unfit", [None, "python3.11", "python3"])
def test_without_python_3_11_one_sentence_says_what_to_install(suite, unfit):
    if unfit:       # another version, or Debian's python3.11 without venv
        program(suite, unfit, unfit=1)
    done, log = run(suite)
    assert (done.returncode, done.stdout, log) == (1, "", [])
    assert done.stderr == ("error: no Python 3.11 with venv found; install python3.11 and python3.11-venv, or uv, and "
                           "run the command again.\n")
    assert not (suite / ".venv").exists()


def test_made_once_and_again_when_the_lock_changes(suite):
    program(suite, "python3.11")
    done, log = run(suite)
    assert done.returncode == 0 and "making .venv with python3.11" in done.stderr, done.stderr
    assert log == INSTALLED
    first, = stamps(suite)
    (suite / ".venv" / "kept").write_text("")
    done, log = run(suite)
    assert (done.returncode, done.stdout, done.stderr, log) == (0, "", "", [])
    assert (suite / ".venv" / "kept").exists()
    (suite / "requirements.txt").write_text("tensorflow==2.15.2\n")
    done, log = run(suite)
    assert done.returncode == 0 and log == INSTALLED
    assert not (suite / ".venv" / "kept").exists(), "packages that left the lock are gone"
    assert len(stamps(suite)) == 1 and stamps(suite) != [first]


def test_an_installation_that_fails_is_tried_again(suite):
    program(suite, "python3.11", fails=1)
    done, log = run(suite)
    assert done.returncode != 0 and log == INSTALLED and not stamps(suite)
    program(suite, "python3.11")
    done, log = run(suite)
    assert done.returncode == 0 and log == INSTALLED and len(stamps(suite)) == 1


def test_the_first_fitting_python_is_taken(suite):
    program(suite, "python3.11", unfit=1)
    program(suite, "python3")
    program(suite, "uv", UV)
    done, log = run(suite)
    assert done.returncode == 0 and log == ["python3 -m venv .venv", INSTALLED[1]]


@pytest.mark.parametrize("fails", [0, 1])
def test_uv_is_the_last_resort(suite, fails):
    program(suite, "python3", unfit=1)
    program(suite, "uv", UV, fails=fails)
    done, log = run(suite)
    assert log[0] == "uv venv --quiet --python 3.11 .venv"
    assert (done.returncode, len(stamps(suite))) == ((1, 0) if fails else (0, 1))
    assert log[1:] == ([] if fails else
                       ["uv pip install --quiet --python .venv/bin/python -r requirements.txt"])
