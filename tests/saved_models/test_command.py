"""Every command of the folder answers a mistake in one sentence."""

import subprocess
import sys
from pathlib import Path

import pytest

from saved_models import predict, verify, versions
from tests.tfrecords.here import run_here


@pytest.mark.parametrize("module, arguments, text", [
    (verify, [], "`--model` is missing; give --model=VALUE."),
    (verify, ["--modle=x"], "`--modle` is not a flag of this command; did you mean --model"),
    (verify, ["--model=x", "a.png"], "`a.png` is not a flag; every setting"),
    (verify, ["--model=/nowhere"], "`/nowhere` holds no saved_model.pb; pass"),
    (verify, ["--model=x", "--image=/nowhere/a.png"], "[Errno 2] No such file or directory: '/nowhere/a.png'"),
    (predict, ["--model=x"], "`--data` and `--out` are missing; give --data=VALUE --out=VALUE."),
    (predict, ["--model=x", "--data=y", "--out=z", "--format=csv"], "flag --format=csv: value should be"),
    (predict, ["--model=/nowhere", "--data=y", "--out=z"], "`/nowhere` holds no version of"),
    (versions, [], "`--models` and `--task` are missing; give --models=VALUE --task=VALUE."),
    (versions, ["--models=x"], "`--task` is missing; give --task=VALUE."),
    (versions, ["--models=x", "--task=y", "--kep=1"], "`--kep` is not a flag of this command; did you mean --keep"),
    (versions, ["--models=x", "--task=y", "--keep=all"], "`--keep` is `all` but must be an integer."),
    (versions, ["x", "--models=x", "--task=y"], "`x` is not a flag; every setting"),
    (versions, ["--models=/nowhere", "--task=y"], "`/nowhere/y` holds no version of `y`"),
])
def test_the_folders_commands_answer_in_one_sentence(capsys, module, arguments, text):
    code, out, error = run_here(module, capsys, *arguments)
    assert (code, out, error.count("\n")) == (1, "", 1) and error.startswith(f"error: {text}")


def test_as_a_process():
    done = subprocess.run([sys.executable, "-m", "saved_models.versions", "--modles=x"], text=True, capture_output=True,
                          cwd=Path(versions.__file__).parents[1], timeout=100)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("error: `--modles` is not a flag of this command; did you mean --models")
