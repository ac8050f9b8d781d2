"""The versions of all models over time: in come folders that change, out go the version a request is for and
the state of each.
"""

import contextlib
import gc
import math
import os
import threading
import time

import tensorflow as tf
from absl import logging
from tensorflow_serving.apis import get_model_status_pb2

from saved_models.versions import numbered
from serving.servable import Servable
from serving.status import first_sentence, invalid, not_found, status_of

State = get_model_status_pb2.ModelVersionStatus.State

REMEMBERED_VERSIONS = 1000  # unloaded versions a model still lists
NOTICE_SECONDS = 10.0  # between two notes that a model has no version yet


class _Version:
    """One numbered folder from its discovery to its end. Its fields change under the manager's lock only."""

    def __init__(self, number, path):
        self.number, self.path = number, path
        self.state, self.error = State.START, None
        self.servable, self.users = None, 0
        self.wanted, self.attempts, self.retry_at = True, 0, 0.0

    def is_settled(self):
        return self.state not in (State.START, State.LOADING)


class Manager:
    """Keeps the wanted versions of every model loaded: polls the folders, loads, warms up, swaps, unloads.

    A new version is loaded and warmed before an old one goes, requests under way finish on the version they
    started with, and the only loaded version of a model is never unloaded, whatever happens to its folder.
    All loading runs in one thread, so that two large models never load at once beside the serving.

    Args:    models: [ModelConfig].  poll_seconds: between two looks at the folders; 0 = look once.
             tags, warmup, load_retries, retry_seconds: as the server's flags.
    """

    def __init__(
        self, models, poll_seconds=1.0, tags=("serve",), warmup=True, load_retries=5, retry_seconds=60.0
    ):
        names = [model.name for model in models]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"Illegal to list model {name} multiple times in config list")
        for flag, value in (
            ("file_system_poll_wait_seconds", poll_seconds),
            ("max_num_load_retries", load_retries),
            ("load_retry_interval_micros", retry_seconds),
        ):
            if not 0 <= value < math.inf:
                raise ValueError(f"`{flag}` is {value} but must not be negative.")
        self._models = {model.name: model for model in models}
        self._versions = {model.name: {} for model in models}  # {name: {number: _Version}}
        self._poll_seconds, self._tags, self._warmup = poll_seconds, tuple(tags), warmup
        self._load_retries, self._retry_seconds = load_retries, retry_seconds
        self._noticed = {}  # {name: when its lack of versions was told}
        self._changed = threading.Condition()  # guards the versions, tells of their changes
        self._polled = self._started = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="versions", daemon=True)

    def start(self):
        self._thread.start()

    def interrupt(self):
        """Ends the polling and every wait soon; takes no lock, so a signal handler may call it."""
        self._stopping.set()

    def stop(self):
        """Ends the polling; returns whether nothing is being loaded or answered any more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)
        with self._changed:
            return not self._thread.is_alive() and not any(version.users for version in self._all())

    def wait_until_settled(self):
        """Until each version found by the first look is available or has failed for good, or `interrupt`."""
        self._wait(lambda: self._polled and all(version.is_settled() for version in self._all()), None)
        self._started = True

    def wait_until_available(self, timeout=None):
        """Until every model has a version that serves.   Raises: TimeoutError that says what is missing."""
        if not self._wait(lambda: not self._unavailable(), timeout):
            with self._changed:
                reasons = "; ".join(self._unavailable())
            raise TimeoutError(f"Not every model became available within {timeout} s: {reasons}.")

    def failures(self):
        """[("NAME version N: reason", folder)] of the versions that are wanted but failed for good."""
        with self._changed:
            return [
                (
                    f"{name} version {version.number}: {first_sentence(version.error.message)}",
                    version.path,
                )
                for name, versions in self._versions.items()
                for version in versions.values()
                if version.wanted and version.state == State.END and version.error
            ]

    @contextlib.contextmanager
    def lease(self, spec):
        """The _Version for a ModelSpec, kept loaded while the context lasts.   Raises: StatusError."""
        with self._changed:
            version = self._find(spec)
            version.users += 1
        try:
            yield version
        finally:
            with self._changed:
                version.users -= 1
                self._release(version)

    def statuses(self, spec):
        """[ModelVersionStatus] of one or all versions of a model, newest first.   Raises: StatusError."""
        number = self._number(spec)
        with self._changed:
            versions = self._versions.get(spec.name, {})
            if number is not None and number not in versions:
                raise not_found(f"Could not find version {number} of model {spec.name}")
            if not versions:
                raise not_found(f"Could not find any versions of model {spec.name}")
            chosen = sorted(versions, reverse=True) if number is None else [number]
            return [_status(versions[chosen_number]) for chosen_number in chosen]

    def _find(self, spec):
        number = self._number(spec)
        available = {
            version.number: version
            for version in self._versions.get(spec.name, {}).values()
            if version.state == State.AVAILABLE
        }
        if number is None and not available:
            raise not_found(f"Servable not found for request: Latest({spec.name})")
        if number is not None and number not in available:
            raise not_found(f"Servable not found for request: Specific({spec.name}, {number})")
        return available[max(available) if number is None else number]

    def _number(self, spec):
        """The version a ModelSpec asks for, None = the newest."""
        if not spec.name:
            raise invalid("ModelSpec has no name specified.")
        choice = spec.WhichOneof("version_choice")
        if choice == "version_label":
            labels = self._models[spec.name].labels if spec.name in self._models else {}
            if spec.version_label not in labels:
                raise invalid(f"Unrecognized servable version label: {spec.version_label}")
            return labels[spec.version_label]
        return spec.version.value if choice == "version" else None

    def _all(self):
        return [version for versions in self._versions.values() for version in versions.values()]

    def _unavailable(self):
        missing = []
        for name, versions in self._versions.items():
            if not any(version.state == State.AVAILABLE for version in versions.values()):
                errors = [
                    f"version {version.number}: {version.error.message}"
                    for version in versions.values()
                    if version.error
                ]
                missing.append(f"model {name} ({errors[-1] if errors else 'no version loaded yet'})")
        return missing

    def _wait(self, condition, timeout):
        """In short waits, so that `interrupt` ends them. False = timed out."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not condition() and not self._stopping.is_set() and time.monotonic() < deadline:
                self._changed.wait(min(0.2, max(0.0, deadline - time.monotonic())))
            return condition() or self._stopping.is_set()

    def _run(self):
        next_look = 0.0
        while not self._stopping.is_set():
            try:
                if time.monotonic() >= next_look:
                    self._look()
                    next_look = time.monotonic() + self._poll_seconds if self._poll_seconds else math.inf
                self._load_pending()
                self._unload_unwanted()
            except Exception:  # noqa: BLE001 - a fault in one round must not end the polling for good
                logging.exception("Looking for versions failed; trying again.")
            pause = min(
                [next_look] + [version.retry_at for version in self._all() if not version.is_settled()]
            )
            self._stopping.wait(min(max(pause - time.monotonic(), 0.05), 1.0))

    def _look(self):
        """Notes which versions are wanted now; a folder without any changes nothing."""
        for name, model in self._models.items():
            found = _version_folders(model.base_path)
            wanted = model.choose(found)
            with self._changed:
                versions = self._versions[name]
                if wanted:
                    for version in versions.values():
                        version.wanted = version.wanted and version.number in wanted
                for number in wanted:
                    version = versions.get(number)
                    # Seen again after it was gone or out of the policy: a fresh start, also after an error.
                    if version is None or version.state == State.END and not version.wanted:
                        versions[number] = _Version(number, found[number])
                    elif version.state == State.AVAILABLE:
                        version.wanted = True
                self._forget(versions)
                serving = any(version.state == State.AVAILABLE for version in versions.values())
            if not wanted:
                self._tell_missing(model, found, serving)
            else:
                self._noticed.pop(name, None)
        with self._changed:
            self._polled = True
            self._changed.notify_all()

    def _tell_missing(self, model, found, serving):
        if time.monotonic() - self._noticed.get(model.name, -math.inf) < NOTICE_SECONDS:
            return
        self._noticed[model.name] = time.monotonic()
        what = "none of the versions that its policy names" if found else "no numeric version folder"
        logging.warning(
            "Model %s: %s holds %s; %s.",
            model.name,
            model.base_path,
            what,
            "the loaded version stays" if serving else "waiting for one",
        )

    def _forget(self, versions):
        ended = sorted(
            number
            for number, version in versions.items()
            if version.state == State.END and not version.wanted
        )
        for number in ended[:-REMEMBERED_VERSIONS]:
            del versions[number]

    def _load_pending(self):
        for name, versions in self._versions.items():
            for version in sorted(versions.values(), key=lambda version: -version.number):
                if self._stopping.is_set():
                    return
                if version.wanted and not version.is_settled() and version.retry_at <= time.monotonic():
                    self._load(name, version)

    def _load(self, name, version):
        with self._changed:
            version.state = State.LOADING
            version.attempts += 1
        started = time.monotonic()
        try:
            servable = Servable(version.path, self._tags)
            requests = servable.warm_up() if self._warmup else 0
        except Exception as error:  # noqa: BLE001 - any broken model must leave the others serving
            self._note_failure(name, version, status_of(error))
            return
        with self._changed:
            version.servable, version.state, version.error = servable, State.AVAILABLE, None
            self._changed.notify_all()
        logging.info(
            "Model %s version %d is available (loaded in %.1f s, %d warm-up requests).",
            name,
            version.number,
            time.monotonic() - started,
            requests,
        )

    def _note_failure(self, name, version, error):
        again = version.attempts <= self._load_retries
        with self._changed:
            version.error = error
            version.retry_at = time.monotonic() + self._retry_seconds
            if not again:
                version.state = State.END
            # What ends the start-up is told by whoever waits for it.
            level = logging.ERROR if again or self._started else logging.DEBUG
            self._changed.notify_all()
        logging.log(
            level,
            "Model %s version %d in %s cannot be loaded: %s: %s (%s)",
            name,
            version.number,
            version.path,
            error.code.name,
            error.message,
            f"next attempt in {self._retry_seconds:g} s" if again else "given up",
        )

    def _unload_unwanted(self):
        unloaded = False
        with self._changed:
            for name, versions in self._versions.items():
                replaced = any(
                    version.wanted and version.state == State.AVAILABLE for version in versions.values()
                )
                for version in versions.values():
                    if version.wanted:
                        continue
                    if version.state == State.AVAILABLE and replaced:
                        version.state = State.UNLOADING
                        logging.info("Model %s version %d is being unloaded.", name, version.number)
                    elif not version.is_settled():  # its folder went before it could be loaded
                        version.state = State.END
                    unloaded |= self._release(version)
            self._changed.notify_all()
        if unloaded:
            gc.collect()  # loaded SavedModels hold reference cycles; free their memory now

    def _release(self, version):
        """Drops an unloading version once its last request is done; whether it did."""
        if version.state != State.UNLOADING or version.users:
            return False
        version.servable, version.state = None, State.END
        return True


def _version_folders(base_path):
    """{version: folder} of the numeric folders ("00000123" is 123); {} where the path cannot be read."""
    try:
        names = [name.rstrip("/") for name in tf.io.gfile.listdir(base_path)]
        return {
            number: os.path.join(base_path, name)
            for number, name in numbered(names)
            if tf.io.gfile.isdir(os.path.join(base_path, name))
        }
    except (tf.errors.OpError, OSError):
        return {}


def _status(version):
    status = get_model_status_pb2.ModelVersionStatus(version=version.number, state=version.state)
    status.status.error_code = version.error.code.value[0] if version.error else 0
    status.status.error_message = version.error.message if version.error else ""
    return status
