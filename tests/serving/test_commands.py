"""Mistakes in the flags of every command of the folder: one sentence on stderr, exit 1."""

import pytest

from serving import client, gallery, server
from tests.serving.toys import run_process
from tests.tfrecords.here import run_here


@pytest.mark.parametrize(
    "module, arguments, text",
    [
        (server, ["--prot=1"], "`--prot` is not a flag of this command; did you mean --port"),
        (server, ["--base_path=x"], "`--base_path` is not a flag of this command; did you mean --model_base_path"),
        (server, ["--port=abc"], "`--port` is `abc` but must be an integer."),
        (server, ["--port"], "`--port` has no value; write --port=VALUE."),
        (server, ["--port=-1", "--port_file=p"], "`port_file` needs a TCP port but `port` is -1; leave one"),
        (
            server,
            ["--tensorflow_intra_op_parallelism=-1"],
            "`--tensorflow_intra_op_parallelism` is `-1` but must be a non-negative integer.",
        ),
        (server, ["--enable_model_warmup=2"], "`--enable_model_warmup` is `2` but must be true or false."),
        (server, ["m", "--port=0"], "`m` is not a flag; every setting is written --name=value, see --help."),
        (server, ["--port_file=/nonexist/p"], "`--port_file` is /nonexist/p but there is no folder `/nonexist`; make"),
        (client, ["embed", "a.png", "--sever=x"], "`--sever` is not a flag of this command; did you mean --server"),
        (client, ["embed", "--wait=-1", "a.png"], "`--wait` is `-1` but must be a non-negative number."),
        (client, ["embed", "a.png", "--timeout=soon"], "`--timeout` is `soon` but must be a number."),
        (client, ["embed", "a.png", "--timeout=0"], "Image `a.png` is not a file; check the path."),
        (client, ["search", "a.png", "--k=0"], "`--k` is `0` but must be a positive integer."),
        (client, ["--model"], "`--model` has no value; write --model=VALUE."),
        (
            client,
            [],
            "`` is not a command; use one of embed, ask, verify, search, detect, classify, restore, followed by "
            "images, or generate.",
        ),
        (gallery, ["build", "--image=x"], "`--image` is not a flag of this command; did you mean --images"),
        (gallery, ["build", "--k=many"], "`--k` is `many` but must be an integer."),
        (gallery, ["build", "--threshold=high"], "`--threshold` is `high` but must be a number."),
        (gallery, ["build", "photos"], "`photos` is one file but build takes a folder or zip"),
        (gallery, ["buld", "--images=x"], "`buld` is not a command; use one of build, enrol, remove, erase."),
    ],
)
def test_a_mistake_is_one_sentence(capsys, module, arguments, text):
    code, out, error = run_here(module, capsys, *arguments)
    assert (code, out, error.count("\n")) == (1, "", 1) and error.startswith(f"error: {text}"), error


@pytest.mark.slow
def test_as_a_process():
    code, out, error = run_process("serving.client", "embed", "a.png", "--sever=localhost:1")
    assert (code, out, error.count("\n")) == (1, "", 1)
    assert error.startswith("error: `--sever` is not a flag of this command; did you mean --server")
