"""The versions of all models over time: in come folders that change, out go the version a request is for and
the state of each.
"""

import dataclasses
import gc
import math
import os
import threading
import time

import tensorflow as tf
from absl import logging
from tensorflow_serving.apis import get_model_status_pb2

from saved_models.versions import numbered
from serving.pixels import MOST_PIXELS
from serving.servable import Servable
from serving.status import Code, StatusError, first_sentence, invalid, not_found, status_of

State = get_model_status_pb2.ModelVersionStatus  # whose states are found 30 times faster than those of its enum

REMEMBERED_VERSIONS = 1000  # unloaded versions a model still lists
NOTICE_SECONDS = 10.0  # between two notes that a model has no version yet
RELOAD_SECONDS = 600.0  # a reload without a limit ends after so long, else it would hold up all others for ever


class _Version:
    """One numbered folder from its discovery to its end. Its fields change under the manager's lock only.

    As a context it is (number, Servable), of a request that was counted in `users` before.
    """

    def __init__(self, number, path, lock):
        self.number, self.path, self._lock = number, path, lock
        self.moved_to = path  # another folder where a changed base path holds this number as well
        self.replacement = None  # (folder, Servable or None where it holds no good one) of what is to take its place
        self.state, self.error = State.START, None
        self.servable, self.users = None, 0
        self.wanted, self.attempts, self.retry_at = True, 0, 0.0

    def __enter__(self):
        return self.number, self.servable

    def __exit__(self, *_):
        with self._lock:
            self.users -= 1
            self.release()

    def release(self):
        """Drops an unloading version once its last request is done; whether it did."""
        if self.state != State.UNLOADING or self.users:
            return False
        self.servable, self.state = None, State.END
        return True

    def is_settled(self):
        return self.state not in (State.START, State.LOADING)

    def is_moving(self):
        """Whether its other folder is still to be loaded."""
        return self.moved_to != self.path and (self.replacement is None or self.replacement[0] != self.moved_to)

    def exchange(self):
        self.path, servable = self.replacement
        self.servable, self.replacement = servable or self.servable, None


class Manager:
    """Keeps the wanted versions of every model loaded: polls the folders, loads, warms up, swaps, unloads.

    A new version is loaded and warmed before an old one goes, requests under way finish on the version they
    started with, and the only loaded version of a model is never unloaded, whatever happens to its folder.
    All loading runs in one thread, so that two large models never load at once beside the serving.

    Args:    models: [ModelConfig].  poll_seconds: between two looks at the folders; 0 = look once.
             tags, warmup, load_retries, retry_seconds, allow_labels: as the server's flags.
             batch, most_pixels: as of Servable.
    """

    def __init__(
        self,
        models,
        poll_seconds=1.0,
        tags=("serve",),
        warmup=True,
        load_retries=5,
        retry_seconds=60.0,
        allow_labels=False,
        batch=None,
        most_pixels=MOST_PIXELS,
    ):
        require_once(models)
        for flag, value in (
            ("file_system_poll_wait_seconds", poll_seconds),
            ("max_num_load_retries", load_retries),
            ("load_retry_interval_micros", retry_seconds),
        ):
            if not 0 <= value < math.inf:
                raise ValueError(f"`{flag}` is {value} but must not be negative.")
        self._models = {model.name: model for model in models}
        self._versions = {model.name: {} for model in models}  # {name: {number: _Version}}
        # Of these the loaded ones, and of each model the newest that goes on to serve: what requests find. A model may
        # remember a thousand more.
        self._loaded, self._newest = {}, {}
        self._poll_seconds, self._tags, self._warmup = poll_seconds, tuple(tags), warmup
        self._load_retries, self._retry_seconds = load_retries, retry_seconds
        self._allow_labels, self._batch, self._most_pixels = allow_labels, batch, most_pixels
        self._noticed = {}  # {name: when its lack of versions was told}
        self._lock = threading.RLock()  # guards the versions
        self._changed = threading.Condition(self._lock)  # tells of their changes
        self._generation, self._seen = 0, -1  # of the models; of those whose folders were looked at
        # While a reload is under way: nothing is unloaded or exchanged before it is known that the new models serve.
        self._holding = False
        self._started = False
        self.watch = None  # (name, number, path, servable or None, seconds) -> None, told of each attempt to load
        self._stopping, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="versions", daemon=True)

    def start(self):
        self._thread.start()

    def interrupt(self):
        """Ends the polling and every wait soon."""
        self._stopping.set()
        self._wake.set()

    def stop(self):
        """Ends the polling; returns whether nothing is being loaded or answered any more."""
        self.interrupt()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)
        with self._changed:
            return not self._thread.is_alive() and not any(version.users for version in self._all())

    def wait_until_settled(self):
        """Until each version found by the first look is available or has failed for good, or `interrupt`."""
        self._wait(lambda: self._seen >= 0 and all(version.is_settled() for version in self._all()))
        self._started = True

    def require_labels(self):
        """Raises: StatusError for a label of a version that does not serve, unless that is allowed."""
        with self._changed:
            self._require_labels({}, self._models)

    def reload(self, models, timeout=None, gone=lambda: False):
        """Serve these models instead. All that is new serves before anything goes and before any label moves.

        Args:   models: [ModelConfig].  timeout: seconds for the reload before this one to end and for the new versions
                to become available; None = RELOAD_SECONDS.
                gone: () -> whether nobody waits for the end of it any more; asked often, so it must answer at once.
        Raises: StatusError; then everything stays as it was.
        """
        try:
            require_once(models)
        except ValueError as error:
            raise invalid(str(error)) from None
        new = {model.name: model for model in models}
        limit = RELOAD_SECONDS if timeout is None else timeout
        deadline = time.monotonic() + limit
        with self._changed:
            self._require(
                lambda: not self._holding, deadline, gone,
                lambda: f"The reload before this one is not done after {limit:.1f} s; ask again once it is.",
            )  # fmt: skip
            before = self._models
            labelled = {
                name: dataclasses.replace(model, labels=before[name].labels) if name in before else model
                for name, model in new.items()
            }
            self._holding, taken = True, False
            self._serve({**before, **labelled})  # what is not named any more serves until the others do
        try:
            self._require(
                lambda: self._all_served(before, new), deadline, gone,
                lambda: f"Not every model became available within {limit:.1f} s: {'; '.join(self._unavailable(new))}",
            )  # fmt: skip
            with self._changed:
                self._require_labels(before, new)
            taken = True
        finally:
            self._settle(new if taken else before, taken)

    def _settle(self, models, taken):
        """Ends a reload: what was loaded to replace another takes its place, or is dropped."""
        with self._changed:
            for version in self._all():
                if taken and version.replacement and version.replacement[0] == version.moved_to:
                    version.exchange()
                if version.replacement:
                    version.replacement = version.error = None
                version.moved_to = version.path
            self._holding = False
            self._serve(models)
            self._changed.notify_all()  # the next reload begins

    def _serve(self, models):
        """Changes which models there are; the next look at the folders begins at once."""
        with self._changed:
            self._models = models
            for name in models:
                self._versions.setdefault(name, {})
            for name in self._versions.keys() - models.keys():
                for version in self._versions[name].values():
                    version.wanted = False
                    if version.state == State.AVAILABLE:
                        version.state = State.UNLOADING
                        logging.info("Model %s is not served any more.", name)
                    version.release()
            for name in self._versions:
                self._note_loaded(name)
            self._generation += 1
        self._wake.set()

    def _all_served(self, before, models):
        """Whether what is new in these models serves.   Raises: StatusError where it cannot."""
        if self._seen < self._generation:
            return False
        failed, waiting = [], False
        for name, model in models.items():
            if model == before.get(name):  # whatever is wrong with it was so before
                continue
            wanted = [version for version in self._versions[name].values() if version.wanted]
            # Where only labels change, the version before a broken one is as good as it was.
            kept = name in before and dataclasses.replace(before[name], labels=model.labels) == model
            serves = self._serving(name) if kept else any(one.state == State.AVAILABLE for one in wanted)
            waiting |= not serves or any(not one.is_settled() or one.is_moving() for one in wanted)
            failed += [f"{name} version {one.number}: {first_sentence(one.error.message)}" for one in wanted
                       if one.error and (one.state == State.END and not serves
                                         or one.replacement and one.replacement[1] is None)]  # fmt: skip
        if failed:
            raise StatusError(
                Code.UNKNOWN, f"{len(failed)} servable(s) did not become available: {{{'; '.join(failed)}}}"
            )
        return not waiting

    def _require_labels(self, before, models):
        for name, model in models.items():
            for label, number in model.labels.items():
                new = name not in before or label not in before[name].labels
                if number in self._serving(name) or new and self._allow_labels:
                    continue
                raise StatusError(
                    Code.FAILED_PRECONDITION,
                    f'Request to assign label "{label}" to version {number} of model {name}, which is not currently '
                    "available for inference",
                )

    def _serving(self, name):
        """{number: version} of those that serve and go on to: the wanted ones, or others as long as there are none."""
        loaded = self._loaded.get(name, {})
        return {number: version for number, version in loaded.items() if version.wanted} or loaded

    def _note_loaded(self, name):
        """To be called whenever a version of a model begins or ceases to serve, or to be wanted."""
        versions = self._versions[name].values() if name in self._models else ()
        self._loaded[name] = {version.number: version for version in versions if version.state == State.AVAILABLE}
        serving = self._serving(name)
        self._newest[name] = serving[max(serving)] if serving else None

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

    def config(self, name):
        """The ModelConfig of a model; None where there is no such model."""
        return self._models.get(name)

    def loaded(self):
        """[(name, number)] of the versions that answer."""
        with self._changed:
            return [(name, number) for name, versions in self._loaded.items() for number in versions]

    def lease(self, spec):
        """The context, to be entered at once, of the (number, Servable) for a ModelSpec, which stays loaded in it.

        Every request goes through here, so the version counts its users itself.

        Raises: StatusError.
        """
        with self._lock:
            version = self._find(spec)
            version.users += 1
            return version

    def folder(self, spec):
        """The folder of the version for a ModelSpec.   Raises: StatusError."""
        with self._changed:
            return self._find(spec).path

    def wait_for(self, name, number, timeout, alone=False, gone=lambda: False):
        """Until a version serves that was written just now; `alone` = and no other one is loaded any more.

        Args:   timeout: seconds.  gone: as of `reload`.
        Raises: StatusError where it cannot be loaded, is not wanted, the time has passed or its client has gone.
        """
        with self._changed:
            self._generation += 1  # the folders are looked at anew
        self._wake.set()

        def serves():
            versions = self._versions.get(name, {})
            version = versions.get(number)
            if self._seen < self._generation:
                return False
            if version is None or not version.wanted:
                raise StatusError(
                    Code.FAILED_PRECONDITION,
                    f"Version {number} of model {name} is written but the model's version policy does not load it; "
                    "change the policy to latest.",
                )
            if version.state == State.END and version.error:
                raise StatusError(
                    version.error.code,
                    f"Version {number} of model {name} is written but cannot be loaded: {version.error.message}",
                )
            others = [one for one in versions.values() if one.number != number and one.state != State.END]
            return version.state == State.AVAILABLE and not (alone and others)

        self._require(
            serves, time.monotonic() + timeout, gone,
            lambda: f"Version {number} of model {name} is written but does not serve after {timeout:.1f} s; it will "
            "once it is loaded.",
        )  # fmt: skip

    def models(self):
        """[ModelConfig] of the models there are now, by name."""
        with self._changed:
            return sorted(self._models.values(), key=lambda model: model.name)

    def statuses(self, spec):
        """[ModelVersionStatus] of one or all versions of a model, newest first.   Raises: StatusError."""
        with self._changed:
            number = self._number(spec)
            versions = self._versions.get(spec.name, {})
            if number is not None and number not in versions:
                raise not_found(f"Could not find version {number} of model {spec.name}")
            if not versions:
                raise not_found(f"Could not find any versions of model {spec.name}")
            chosen = sorted(versions, reverse=True) if number is None else [number]
            return [_status(versions[chosen_number]) for chosen_number in chosen]

    def _find(self, spec):
        name, number = spec.name, self._number(spec)
        version = self._newest.get(name) if number is None else self._loaded.get(name, {}).get(number)
        if version is None:
            wanted = f"Latest({name})" if number is None else f"Specific({name}, {number})"
            raise not_found(f"Servable not found for request: {wanted}")
        return version

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

    def _unavailable(self, names):
        missing = []
        for name in names:
            versions = self._versions.get(name, {})
            if not any(version.state == State.AVAILABLE for version in versions.values()):
                errors = [
                    f"version {version.number}: {version.error.message}"
                    for version in versions.values()
                    if version.error
                ]
                missing.append(f"model {name} ({errors[-1] if errors else 'no version loaded yet'})")
        return missing

    def _require(self, condition, deadline, gone, late):
        """Until the condition holds.   Raises: StatusError where it never did; late: () -> its text at the deadline."""
        if self._wait(condition, deadline, gone):
            return
        if self._stopping.is_set():
            raise StatusError(Code.UNAVAILABLE, "The server is stopping")
        if gone():
            raise StatusError(Code.CANCELLED, "Whoever asked for this is gone; everything stays as it was")
        with self._changed:
            raise StatusError(Code.DEADLINE_EXCEEDED, late())

    def _wait(self, condition, deadline=math.inf, gone=lambda: False):
        """Whether the condition holds at last; the deadline, `interrupt` and a client's leaving end the short waits."""
        with self._changed:
            while not (holds := condition()) and not self._stopping.is_set() and not gone():
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(min(0.2, left))
            return holds

    def _run(self):
        next_look = 0.0
        while not self._stopping.is_set():
            try:
                asked = self._wake.is_set()
                self._wake.clear()
                if asked or time.monotonic() >= next_look:
                    self._look()
                    next_look = time.monotonic() + self._poll_seconds if self._poll_seconds else math.inf
                self._load_pending()
                self._load_moved()
                self._unload_unwanted()
            except Exception:  # noqa: BLE001 - a fault in one round must not end the polling for good
                logging.exception("Looking for versions failed; trying again.")
            with self._changed:
                retries = [version.retry_at for version in self._all() if not version.is_settled()]
            pause = min([next_look, *retries])
            self._wake.wait(min(max(pause - time.monotonic(), 0.05), 1.0))

    def _look(self):
        """Notes which versions are wanted now; a folder without any changes nothing."""
        with self._changed:
            models, generation = dict(self._models), self._generation
        for name, model in models.items():
            found = _version_folders(model.base_path)
            wanted = model.choose(found)
            with self._changed:
                if generation != self._generation:  # the models have changed: look anew
                    return
                versions = self._versions[name]
                if wanted:
                    for version in versions.values():
                        version.wanted = version.wanted and version.number in wanted
                for number in wanted:
                    version = versions.get(number)
                    # Seen again after it was gone, out of the policy or elsewhere: a fresh start, also after an error.
                    gone = version is not None and version.state in (State.END, State.UNLOADING)
                    if version is None or gone and (not version.wanted or version.path != found[number]):
                        versions[number] = _Version(number, found[number], self._lock)
                    elif version.state == State.AVAILABLE:
                        version.wanted, version.moved_to = True, found[number]
                    elif version.path != found[number]:
                        version.path = version.moved_to = found[number]
                self._forget(versions)
                self._note_loaded(name)
                serving = bool(self._loaded[name])
            if not wanted:
                self._tell_missing(model, found, serving)
            else:
                self._noticed.pop(name, None)
        with self._changed:
            self._seen = generation
            self._changed.notify_all()

    def _tell_missing(self, model, found, serving):
        if time.monotonic() - self._noticed.get(model.name, -math.inf) < NOTICE_SECONDS:
            return
        self._noticed[model.name] = time.monotonic()
        if found:
            what = f"{model.base_path} holds none of the versions that its policy names"
        elif not tf.io.gfile.isdir(model.base_path):
            what = f"Could not find base path {model.base_path} for servable {model.name}"
        else:
            what = f"{model.base_path} holds no numeric version folder"
        logging.warning(
            "Model %s: %s; %s.", model.name, what, "the loaded version stays" if serving else "waiting for one"
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
        with self._changed:
            pending = [
                (name, sorted(versions.values(), key=lambda version: -version.number))
                for name, versions in self._versions.items()
            ]
        for name, versions in pending:
            for version in versions:
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
            servable, requests = self._read(name, version.number, version.path)
        except Exception as error:  # noqa: BLE001 - any broken model must leave the others serving
            self._note_failure(name, version, status_of(error))
            return
        with self._changed:
            version.servable, version.state, version.error = servable, State.AVAILABLE, None
            self._note_loaded(name)
            self._changed.notify_all()
        logging.info(
            "Model %s version %d is available (loaded in %.1f s, %d warm-up requests).",
            name,
            version.number,
            time.monotonic() - started,
            requests,
        )

    def _read(self, name, number, path):
        """A Servable ready to answer, and the number of requests that warmed it up."""
        started, requests, servable = time.monotonic(), 0, None
        try:
            read = Servable(path, self._tags, self._batch, self._most_pixels)
            requests = read.warm_up() if self._warmup else 0
            servable = read
        finally:
            if self.watch:
                self.watch(name, number, path, servable, time.monotonic() - started)
        return servable, requests

    def _load_moved(self):
        """Versions whose number lies in another folder since the base path changed: loaded, then exchanged."""
        with self._changed:
            moved = [
                (name, version)
                for name, versions in self._versions.items()
                for version in versions.values()
                if version.state == State.AVAILABLE and version.wanted and version.is_moving()
            ]
        for name, version in moved:
            servable, error, path = None, None, version.moved_to
            try:
                servable, _ = self._read(name, version.number, path)
            except Exception as failure:  # noqa: BLE001 - the version that serves stays
                error = status_of(failure)
                logging.error(
                    "Model %s version %d in %s cannot be loaded: %s", name, version.number, path, error.message
                )
            with self._changed:
                if version.moved_to == path:
                    version.replacement, version.error = (path, servable), error
                    if not self._holding:
                        version.exchange()
                self._changed.notify_all()
        if moved:
            gc.collect()

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
            # What is wanted is known of the folders as the models name them now, and nothing goes during a reload.
            may_go = not self._holding and self._seen == self._generation
            for name, versions in self._versions.items():
                replaced = any(
                    version.wanted and version.state == State.AVAILABLE for version in versions.values()
                )
                for version in versions.values():
                    if version.wanted:
                        continue
                    gone = replaced or name not in self._models
                    if version.state == State.AVAILABLE and gone and may_go:
                        version.state = State.UNLOADING
                        self._note_loaded(name)
                        logging.info("Model %s version %d is being unloaded.", name, version.number)
                    elif not version.is_settled():  # its folder went before it could be loaded
                        version.state = State.END
                    unloaded |= version.release()
            self._changed.notify_all()
        if unloaded:
            gc.collect()  # loaded SavedModels hold reference cycles; free their memory now


def require_once(models):
    """Raises: ValueError for a name that several models have."""
    names = [model.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"Illegal to list model {name} multiple times in config list")


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
