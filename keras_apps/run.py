"""Everything between a config and a loop: data, splits, app, batches. Shared by the commands."""

import base64
import functools
import json
import os
import subprocess
import sys
import types
import zlib

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from keras_apps.build import ROOT, build, method_class
from keras_apps.checkpoints import MAY_DIFFER, checkpoints_in
from keras_apps.config import PRECISIONS, base, changed, require_known, settle, to_json
from keras_apps.initial import start_from
from keras_apps.loop import Loop
from tfrecords.batch import Batches, Images, Table
from tfrecords.decode import Decoder, height_and_width
from tfrecords.read import Records
from tfrecords.schema import SEVERAL
from tfrecords.shards import write_file

IMAGE_FACTS = "channels", "dtype", "raw", "scaling", "aligned"      # of a manifest, which a Decoder needs


class Run:
    """A config on data under a strategy.

    Args:    config: as read from its file.  data: folder of `tfrecords.write`.  strategy: of `make_strategy`.
    Raises:  ValueError naming what does not fit.
    """

    def __init__(self, config, data, strategy):
        self.config, self.strategy = settle(config), strategy
        config = self.config
        require_known(config, method_class("apps", config.app).keys)
        tf.keras.utils.set_random_seed(config.seed)
        tf.keras.mixed_precision.set_global_policy(PRECISIONS[config.precision])
        self.records = Records(data)
        self._images = {}
        self.images = self.images_of(config.size)
        self.decoder = self.images.decoder
        kind = method_class("apps", config.app)
        require_columns(self.records, config.app, kind.needs)
        self.labels, self.splits, self.names = kind.select(self.images, config)
        for split in self._held().values():
            split.keep_sound()
        trained = self.splits["train"]
        self.trained_on = sorted({trained.names[i] for i in trained.identities if i >= 0})  # or by one it starts from
        if config.init:
            self._note_seen(config.init)
        self.rows = (self.labels >= 0).nonzero()[0]
        self.mixing = [build("tfrecords/mixing", text) for text in config.data.mixing]
        self.augment = [build("tfrecords/augment", text) for text in config.data.augment]
        self.crop = build("tfrecords/augment", config.data.crop) if config.data.crop else None
        if self.crop is not None and not hasattr(self.crop, "boxes"):
            raise ValueError(f"`data.crop` is {config.data.crop!r} but must be an augmentation that cuts a box, "
                             "such as \"crop_resize()\".")
        for text, method in zip(config.data.mixing, self.mixing):
            unread = sorted(set(getattr(method, "adds", ())) - set(kind.takes))
            if unread:
                raise ValueError(f"`data.mixing` has {text!r}, whose `{'` and `'.join(unread)}` the app `{config.app}` "
                                 "does not read; leave it out.")
        classes = len(self.names)
        for method in self.mixing:
            classes *= getattr(method, "times", 1)
        info = info_of(classes, self.names, self.splits, self.decoder)
        with strategy.scope():
            self.app = build("apps", config.app, config=config, info=info)
        if config.accumulate > 1:       # else the sampler says it better
            self._require_parts()

    def _require_parts(self):
        """Refuses a batch that cannot be dealt to the replicas, and computed in parts, evenly."""
        replicas, parts = self.strategy.num_replicas_in_sync, self.config.accumulate
        for stage in self.app.stages():
            unit = replicas * parts
            if stage["batch"] % unit:
                near = max(unit, stage["batch"] - stage["batch"] % unit)
                raise ValueError(f"`batch` is {stage['batch']} but must be a multiple of {unit} ({replicas} replicas x "
                                 f"accumulate={parts}); use {near}, or another `accumulate`.")

    def _held(self):
        others = "train", "distractors", "unlabelled"
        return {name: split for name, split in self.splits.items() if name not in others}

    def _note_seen(self, workdir):
        """Held-out identities that the run to start from was trained on are not unseen ones."""
        before = read_json(os.path.join(workdir, "data.json"))
        if before is None or "trained" not in before:
            print(f"warning: {workdir}, which `init` names, does not say what it was trained on: whether on identities "
                  "that are held out here cannot be told.", file=sys.stderr)
            return
        if before.get("sha256") == self.records.manifest["data_sha256"] and "rows" in before:
            self._refuse_known(workdir, unpacked_rows(before["rows"]))
        for name, split in self._held().items():
            held = {split.names[i] for i in split.identities if i >= 0} if split.unseen else set()
            seen = held & set(before["trained"])
            if seen:
                same = before.get("sha256") == self.records.manifest["data_sha256"]
                split.unseen = False
                print(f"warning: {len(seen)} of the {len(held)} identities of the {name} split were trained on by "
                      f"{workdir}, which `init` names{'' if same else ' (other data, the same names)'}: the figures "
                      "are not those of unseen identities.", file=sys.stderr)
        self.trained_on = sorted({*self.trained_on, *before["trained"]})

    def _refuse_known(self, workdir, rows):
        """Refuses a start from a run that was trained on images held out here, where images are what is judged."""
        if method_class("apps", self.config.app).judged_by != "images":
            return
        for name, split in self._held().items():
            known = int(np.isin(split.rows, rows).sum())
            if known:
                raise ValueError(f"`init` is {workdir} but that run was trained on {known} of the {len(split.rows)} "
                                 f"images of the {name} split here (the same data, split otherwise); start from a run "
                                 "of the same split: the same seed, `deal` and `data` keys.")

    def images_of(self, size):
        """The decoded images at a size; stages of a growing network ask for several."""
        size = height_and_width(size)
        if size not in self._images:
            decoder = Decoder.of(self.records.manifest, size, self.config.data.fit)
            self._images[size] = Images(self.records, decoder, self.config.data.cache_mb,
                                        self.config.data.most_damaged)
        return self._images[size]

    def batches(self, stage):
        """The training batches of a stage."""
        sampler = build("tfrecords/samplers", stage.get("sampler") or self.config.data.sampler, batch=stage["batch"])
        views = stage.get("views")
        # Views are augmentations themselves; two kinds of warp would soften every image.
        plain = views or stage.get("plain")
        augment, mixing, crop = ((), (), None) if plain else (self.augment, self.mixing, self.crop)
        views = build("tfrecords/views", views) if views else None
        return Batches(self.images_of(stage["size"]), self._table(self.rows_of(stage)), sampler, augment, mixing,
                       self.config.seed, crop, views)

    def rows_of(self, stage):
        """The rows that a stage is trained on."""
        further = self.splits.get("unlabelled") if stage.get("unlabelled") else None
        return self.rows if further is None else np.sort(np.concatenate([self.rows, further.rows]))

    def _table(self, rows):
        """What samplers see: one value of each category column an image, of several the first."""
        records, columns = self.records, {}
        for column in records.manifest["names"]:
            values = records.several(column)[:, 0] if column in SEVERAL else records.column(column)
            columns[column] = values
        pairs = records.pairs()
        return Table(rows, self.labels, columns, records.manifest["names"],
                     pairs and (pairs["first"], pairs["second"], pairs["same"]))

    def check(self):
        """Refuses, before anything is written, data that cannot be read or sampled."""
        for size, unlabelled in dict.fromkeys((height_and_width(stage["size"]), stage.get("unlabelled", False))
                                              for stage in self.app.stages()):
            images, rows = self.images_of(size), self.rows_of({"unlabelled": unlabelled})
            if self.crop is None and len(rows) <= images.limit:
                images.load_sound(rows, "decoding")
        for stage in self.app.stages():
            self.batches(stage).dataset(0, self.strategy.num_replicas_in_sync)

    def loop(self, workdir, actions=(), stopping=None):
        """The loop over the app's stages; a new one starts from the run that `init` names."""
        if self.config.init and not (workdir and checkpoints_in(os.path.join(workdir, "checkpoints"))):
            with self.strategy.scope():
                for part in self.app.starting():
                    print(start_from(part, self.config.init), file=sys.stderr)
        judge = functools.partial(self.app.evaluate, {"test": self.splits.get("validation")})
        return Loop(self.app, self.config, self.batches, self.strategy, workdir, actions, judge, stopping)


def info_of(classes, names, splits, decoder):
    """What an app is told of the data."""
    return types.SimpleNamespace(classes=classes, names=names, splits=splits, decoder=decoder,
                                 shape=(*decoder.size, decoder.channels))


def require_columns(records, app, needs):
    """Refuses data without a column that an app needs.

    Args:    needs: columns; "a|b" = one of them.
    """
    for column in needs:
        if not any(records.has(name) for name in column.split("|")):
            either = column.replace("|", "` or `")
            if column == "identity" and records.has("label"):
                raise ValueError(f"the app `{app}` needs the column `identity` but the data in {records.directory} "
                                 "have `label`; where each sub-folder is one identity, write them with "
                                 "--pattern='(?P<identity>[^/]+)/[^/]+$'.")
            raise ValueError(f"the app `{app}` needs the column `{either}` but the data in {records.directory} have "
                             f"{', '.join(records.manifest['columns']) or 'none'}; write them with one sub-folder a "
                             f"class, a --pattern with (?P<{column.split('|')[0]}>...) or a --csv.")


def claim(workdir, run):
    """Makes the workdir this run's own (config.json, data.json), or checks that it is.

    Where no checkpoint was written nothing was trained: a config that failed there may be mended.
    Raises:  ValueError where another config or other data trained here.
    """
    mine = {"config.json": to_json(run.config),
            "data.json": json.dumps({"name": run.records.name, "sha256": run.records.manifest["data_sha256"],
                                     "trained": run.trained_on, "rows": packed_rows(run.rows, run.records.count)})}
    trained = checkpoints_in(os.path.join(workdir, "checkpoints"))
    for name, text in mine.items() if trained else ():
        stored = read_json(os.path.join(workdir, name))
        others = [] if stored is None else [key for key in changed(stored, json.loads(text))
                                            if key not in (*MAY_DIFFER, "trained", "rows")]
        if others:
            keys = ", ".join(f"`{key}`" for key in others)
            raise ValueError(f"{workdir} holds a run whose {name[:-len('.json')]} differs in {keys}; use another "
                             "--workdir or the same as before.")
    if os.path.lexists(workdir) and not os.path.isdir(workdir):
        raise ValueError(f"`workdir` is {workdir} but that is a file; name a new folder.")
    os.makedirs(workdir, exist_ok=True)
    # What an image is, for those who use the run without its data.
    mine["images.json"] = json.dumps({**{key: run.records.manifest.get(key) for key in IMAGE_FACTS},
                                      "names": run.names})
    for name, text in mine.items():
        write_file(os.path.join(workdir, name), text)


def packed_rows(rows, count):
    """Rows of a data folder as text: one bit a row."""
    mask = np.zeros(count, bool)
    mask[rows] = True
    return base64.b64encode(zlib.compress(np.packbits(mask).tobytes())).decode()


def unpacked_rows(text):
    """The rows that `packed_rows` was given, sorted."""
    return np.flatnonzero(np.unpackbits(np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)))


def read_json(path):
    """The file's content, None where there is no such file."""
    if not os.path.exists(path):
        return None
    with open(path) as file:
        try:
            return json.load(file)
        except ValueError as error:
            raise ValueError(f"{path} is damaged ({error}); remove it, or its folder.") from error


def stored_config(workdir):
    """The config a workdir was trained with."""
    config = read_json(os.path.join(workdir, "config.json"))
    if config is None:
        raise ValueError(f"{workdir} holds no config.json, so no run; give the --workdir of a `keras_apps.train`.")
    complete = base()       # a run of before a key was there had what is now its default
    complete.update(config)
    complete.optimizers = ConfigDict(config.get("optimizers", complete.optimizers))
    return complete


def stored_app(workdir, strategy):
    """The app of a finished or stopped run, with the newest weights (averaged ones, where it has them); no data needed.

    Returns: app, loop (standing at its step), config, {"name", "sha256"} of the data it was trained on.
    Raises:  ValueError where the workdir holds no run, or none that can be used without its data.
    """
    config = settle(stored_config(workdir))
    tf.keras.mixed_precision.set_global_policy(PRECISIONS[config.precision])
    facts, data = (read_json(os.path.join(workdir, f"{name}.json")) for name in ("images", "data"))
    if facts is None or data is None:
        raise ValueError(f"{workdir} does not say what its images are (images.json, data.json); train it again with "
                         "the present version.")
    if not checkpoints_in(os.path.join(workdir, "checkpoints")):
        raise ValueError(f"{workdir} holds no checkpoint; train it first by `python -m keras_apps.train`.")
    facts["aligned"] = facts["aligned"] or 0
    decoder = Decoder.of(facts, config.size, config.data.fit)
    with strategy.scope():
        app = build("apps", config.app, config=config, info=info_of(len(facts["names"]), facts["names"], {}, decoder))
    loop = Loop(app, config, None, strategy, workdir)
    loop.restore(training=False)
    loop.restore_best()
    return app, loop, config, data


def commit():
    """The checkout's commit, with "+changes" where its Python files differ; "" outside one or without git."""
    try:
        found = [subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
                 for words in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--", "*.py"))]
    except OSError:
        return ""
    if found[0].returncode:
        return ""
    return found[0].stdout.strip() + ("+changes" if found[1].stdout.strip() else "")
