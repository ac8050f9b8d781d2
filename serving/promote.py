"""Points a version label of a served model at another version, or back at the one before.

    python -m serving.promote --model_config_file=models.config --model=verification --label=stable --version=3
    python -m serving.promote --model_config_file=models.config --model=verification --label=stable --back

It changes the model config file, whole or not at all, and leaves comments as they are. A server that polls the file,
TF Serving or the embedded one (--model_config_file_poll_wait_seconds), follows by itself; with --server=host:port the
version is asked for there before, and the server is told at once. A server without polling must be told so.

What a label was is kept in models.config.labels.json beside the file; --back can be given again to go further back, and
refuses where somebody else has changed the label since. A label can only name a version that is loaded: it is checked
that the version policy of the model serves it, as far as its folder is on this machine. With the default policy only
the newest version is; `model_version_policy { all {} }` or `{ latest { num_versions: 2 } }` keeps one to go back to.
"""

import contextlib
import fcntl
import json
import os
import re
import stat
import sys

from absl import flags

from serving import channel
from serving.config import config_message, parse_config
from serving.config_text import with_label
from serving.errors import ServingError
from serving.files import write_whole
from tfrecords import command

KEPT = 100  # changes of a label that are kept to go back
FILE = "model_config_file"


def promote(path, model, label, version=None, client=None):
    """Points `label` at `version`, or at what it was before the last change.

    Args:    path: of the model config.  version: None = back.
             client: of a server that must have the version available and is told of the new config; None = no server.
    Returns: (version before, version now), None where there was or is no such label.
    Raises:  ValueError for a version that would not be served, or where there is nothing to go back to; OSError;
             ServingError where the server refuses: the file is then as it was.
    """
    path = os.path.realpath(path)  # a link stays one
    with _alone(path):
        text = _text(path)
        config = _config(path, text, model)
        before = config.labels.get(label)
        history = _History(path, model, label)
        now = history.back(before) if version is None else version
        if now == before:
            return before, now
        if now is not None:
            _require_served(config, now)
            if client:
                _require_available(client, now)
        changed = with_label(text, model, label, now)
        if version is not None:
            history.note(before, now)  # first: a file that was changed can always be changed back
        _write(path, changed)
        if client:
            try:
                client.reload(config_message(changed))
            except ServingError:
                _write(path, text)
                raise
        if version is None:
            history.forget()
        return before, now


class _History:
    """What a label was: [[before, after]] of its changes, the last one at the end."""

    def __init__(self, path, model, label):
        self._path, self._model, self._label = f"{path}.labels.json", model, label
        self._all = {}
        if os.path.exists(self._path):
            with contextlib.suppress(ValueError, AttributeError), open(self._path, encoding="utf-8") as stream:
                self._all = json.load(stream)
        self._changes = list(self._all.get(model, {}).get(label, []))

    def back(self, current):
        """The version before the change that led to the current one."""
        while self._changes and self._changes[-1][1] != current:  # noted, but the file was never written, or is newer
            self._changes.pop()
        if not self._changes:
            stands = f"is at version {current}, which this command did not set" if current else "is not set"
            raise ValueError(
                f"`--back` finds nothing to go back to: label {self._label} of model {self._model} {stands}; give "
                "--version=NUMBER."
            )
        return self._changes[-1][0]

    def note(self, before, after):
        self._changes = [*self._changes, [before, after]][-KEPT:]
        self._save()

    def forget(self):
        self._changes.pop()
        self._save()

    def _save(self):
        self._all.setdefault(self._model, {})[self._label] = self._changes
        write_whole(FILE, self._path, lambda stream: stream.write(json.dumps(self._all, indent=1).encode()))


@contextlib.contextmanager
def _alone(path):
    """Two of these commands never change one file at the same time: the later would undo what the earlier did."""
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _text(path):
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except OSError as error:
        raise OSError(f"`--{FILE}` is {path} but cannot be read: {error.strerror or error}; correct it.") from error


def _config(path, text, model):
    try:
        models = {config.name: config for config in parse_config(text)}
    except ValueError as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
    if model not in models:
        raise ValueError(f"`--model` is {model} but {path} lists {', '.join(models)}; correct the name.")
    return models[model]


def _require_served(config, version):
    """Raises: ValueError where the policy of the model does not serve the version: servers refuse such a label."""
    rule = f"model {config.name} serves its newest {config.latest}" if config.policy == "latest" else (
        f"model {config.name} serves {config.policy} {', '.join(map(str, config.versions))}".rstrip())  # fmt: skip
    cannot = f"The label cannot name version {version}:"
    if not os.path.isdir(config.base_path):  # such as of a container, or in a bucket
        if config.policy == "specific" and version not in config.versions:
            raise ValueError(f"{cannot} {rule}; list it in model_version_policy first.")
        print(f"{config.base_path} is no folder here, so it was not checked for version {version}", file=sys.stderr)
        return
    found = sorted(int(name) for name in os.listdir(config.base_path) if re.fullmatch(r"\d+", name))
    if version not in found:
        there = ", ".join(map(str, found)) or "none"
        raise ValueError(f"{cannot} {config.base_path} holds {there}; give one of them.")
    if version not in config.choose(found):
        raise ValueError(
            f"{cannot} {rule} of {', '.join(map(str, found))}; change its model_version_policy and wait until the "
            "version is loaded."
        )


def _require_available(client, version):
    state = {status["version"]: status["state"] for status in client.status()}.get(version, "unknown")
    if state != "AVAILABLE":
        raise ValueError(
            f"The label cannot name version {version}: it is {state} on the server; wait until it is AVAILABLE or give "
            "another."
        )


def _write(path, text):
    mode = stat.S_IMODE(os.stat(path).st_mode)

    def write(stream):
        os.fchmod(stream.fileno(), mode)
        stream.write(text.encode())
        stream.flush()
        os.fsync(stream.fileno())

    write_whole(FILE, path, write)


# ---- Command ----


def define_flags():
    flags.DEFINE_string("server", None, "host:port or unix:/path of a server to ask and to tell.")
    channel.define_flags()
    flags.DEFINE_string("model_config_file", None, "File with a ModelServerConfig in text format.", required=True)
    flags.DEFINE_string("model", None, "Name of the model in it.", required=True)
    flags.DEFINE_string("label", None, "Label to change.", required=True)
    flags.DEFINE_integer("version", None, "Version it is to name.", lower_bound=0)
    flags.DEFINE_bool("back", False, "Name the version that it named before.")


def main(_):
    values = flags.FLAGS
    if (values.version is None) != values.back:
        given = f"`--version` is {values.version} and `--back` is given" if values.back else (
            "neither `--version` nor `--back` is given")  # fmt: skip
        raise ValueError(f"{given} but exactly one of them says where the label goes; give one.")
    with contextlib.ExitStack() as stack:
        client = None
        if values.server:
            from serving.client import Client  # with TensorFlow, which nothing else here needs

            client = stack.enter_context(Client(stack.enter_context(channel.connection(values)), values.model))
        before, now = promote(values.model_config_file, values.model, values.label, values.version, client)
    names = [f"version {version}" if version is not None else none
             for version, none in ((before, "a new label"), (now, "no version"))]  # fmt: skip
    said = f"is at {names[1]} already" if before == now else f"{names[0]} -> {names[1]}"
    print(f"{values.model} {values.label}: {said}")


def start():
    command.run(main, define_flags, errors=(ServingError,))


if __name__ == "__main__":
    start()
