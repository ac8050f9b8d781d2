"""Configs: one flat file a choice, every method one string, unknown keys refused."""

import contextlib
import json
import os
import re
import runpy

import tensorflow as tf
from ml_collections import ConfigDict, FieldReference

from keras_apps.build import neighbours
from tfrecords.decode import height_and_width

PRECISIONS = {"float32": "float32", "float16": "mixed_float16", "bfloat16": "mixed_bfloat16"}


def base():
    """The keys every config starts with; a config file overrides values and may add its app's own keys."""
    return ConfigDict({
        "app": "",                    # file of keras_apps/apps
        "seed": 0,
        "steps": 1000,
        "batch": 64,                  # global: over all replicas
        "checkpoint_every": 500,
        "size": FieldReference(32, field_type=object),      # pixels, height = width, or (height, width)
        "labels": 0,                  # labelled images a class; 0 = all
        "init": "",                   # workdir of another run whose encoder this one starts from
        "backbone": "small_cnn()",
        "pooling": "average()",
        "head": "",                   # "" = none
        "loss": "",                   # "" = none
        "optimizers": {"network": "adam(rate=1e-3)"},
        "data": {
            "fit": "stretch",         # stretch | pad
            "train_identities": "",   # "0-4,7"; "" = by `holdout`
            "train_split": "",        # rows of this split only; "" = every row that has no other use
            "test_split": "",         # of what is not trained on, rows of this split only; "" = all of it
            "validation_split": "",   # rows of this split, in place of `validation`
            "validation": 0.0,        # share of the identities left to train on (by hash), all their images, that
                                      # `best` is chosen by
            "holdout": 0.0,           # share of the identities (by hash) kept for evaluation
            "test_images": 10000,     # whole identities, or cases of episodes, are evaluated up to this many
            "sampler": "pk(images=4)",
            "crop": "",               # "crop_resize(area=(0.3, 1.0))": from the stored pixels; "" = the whole image
            "augment": (),            # ("flip()", "affine(rotate=0.1)"), in this order
            "mixing": (),
            "cache_mb": 1024,         # decoded images are kept in memory up to this size
            "most_damaged": 10,       # records that may be skipped because their bytes have changed
        },
        "schedule": "constant()",
        "ema": 0.0,                   # decay of the averaged weights used for evaluation and export; 0 = off
        "clip": 0.0,                  # global norm of the gradient; 0 = off
        "log_every": 20,
        "follow_every": 0,            # steps between two looks of the app at what it makes of the data; 0 = none
        "keep": 3,                    # checkpoints
        "precision": "float32",       # float32 | float16 (with loss scaling) | bfloat16: what layers compute in
        "accumulate": 1,              # parts that a batch is computed in, one after the other
        "rates": (),                  # ("layers(path='network/backbone', factor=0.1, start=500)",): slower, or later
        "evaluate_every": 0,          # steps between two looks at the validation images; 0 = none
        "best": "",                   # "auc", "-eer": export the checkpoint that is best on the validation images
        "min_delta": 0.0,             # what counts as better
        "patience": 0,                # looks without a better one after which training ends; 0 = never
    })


def settle(config):
    """Checks what holds for every app; returns the config frozen.

    Raises:  ValueError naming key, value, rule and remedy.
    """
    if config.follow_every < 0:
        raise ValueError(f"`follow_every` is {config.follow_every} but must not be negative; 0 = never.")
    for key in ("steps", "batch", "checkpoint_every", "log_every", "keep", "accumulate"):
        if config[key] < 1:
            raise ValueError(f"`{key}` is {config[key]} but must be at least 1.")
    height_and_width(config.size)
    if not 0 <= config.seed < 2 ** 31:
        raise ValueError(f"`seed` is {config.seed} but must lie in [0, 2^31).")
    if not 0 <= config.ema < 1:
        raise ValueError(f"`ema` is {config.ema} but must lie in [0, 1); 0 switches it off.")
    if not 0 <= config.data.holdout < 1:
        raise ValueError(f"`data.holdout` is {config.data.holdout} but must lie in [0, 1).")
    if config.data.most_damaged < 0:
        raise ValueError(f"`data.most_damaged` is {config.data.most_damaged} but must not be negative.")
    if config.data.test_images < 2:
        raise ValueError(f"`data.test_images` is {config.data.test_images} but must be at least 2.")
    if config.clip < 0 or config.labels < 0:
        raise ValueError("`clip` and `labels` must not be negative; 0 switches them off.")
    if not 0 <= config.data.validation < 1:
        raise ValueError(f"`data.validation` is {config.data.validation} but must lie in [0, 1).")
    if min(config.evaluate_every, config.patience, config.min_delta) < 0:
        raise ValueError("`evaluate_every`, `patience` and `min_delta` must not be negative; 0 switches them off.")
    if config.precision not in PRECISIONS:
        raise ValueError(f"`precision` is {config.precision!r} but must be one of {', '.join(PRECISIONS)}.")
    if config.data.validation and config.data.validation_split:
        raise ValueError(f"`data.validation` is {config.data.validation} and `data.validation_split` "
                         f"{config.data.validation_split!r} but only one of them may be set; leave the other out.")
    dealt = tuple(config.get("deal", ()))[1:2]      # of apps that deal validation images themselves
    if config.evaluate_every and not (config.data.validation or config.data.validation_split or any(dealt)):
        raise ValueError(f"`evaluate_every` is {config.evaluate_every} but `data.validation` is 0: there are no images "
                         "to look at; set it to a share of the identities such as 0.2, or `data.validation_split`.")
    if (config.best or config.patience) and not config.evaluate_every:
        raise ValueError(f"`best` is {config.best!r} and `patience` {config.patience} but `evaluate_every` is 0; say "
                         "how many steps lie between two looks.")
    if config.patience and not config.best:
        raise ValueError(f"`patience` is {config.patience} but `best` is empty; name the metric to wait for, such as "
                         "\"auc\".")
    if not config.app:
        raise ValueError("`app` is empty but must name a file of keras_apps/apps, such as verification.")
    frozen = config.copy_and_resolve_references()
    frozen.lock()
    return frozen


def require_known(config, own):
    """Refuses keys of a config file that neither `base` nor the app (`own`) knows, with their neighbours."""
    defaults = base()
    for prefix, given, known in (("", config, [*defaults, *own]), ("data.", config.data, list(defaults.data))):
        for key in given:
            if key not in known:
                near = ", ".join(prefix + word for word in neighbours(key, sorted(known)))
                raise ValueError(f"`{prefix}{key}` is not a key of this config; did you mean {near}?")


def to_json(config):
    """Plain sorted JSON: what is written beside a run and compared on resume."""
    return json.dumps(config.to_dict(), indent=1, sort_keys=True, default=list)


def flat(config, prefix=""):
    """{dotted key: value} of a plain dictionary."""
    found = {}
    for key, value in config.items():
        found.update(flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {prefix + key: value})
    return found


def changed(old, new):
    """The dotted keys in which a stored plain (or flat) config differs from the present one.

    A key that came later does not count while it has its default, which leaves everything as it was.
    """
    old, new, defaults = flat(old), flat(new), flat(json.loads(to_json(base())))
    later = {key for key in new if key not in old and key in defaults and new[key] == defaults[key]}
    return sorted(key for key in {*old, *new} - later if old.get(key, ...) != new.get(key, ...))


def explain(error, argv):
    """A better sentence for what a user of a config can get wrong; None where there is none."""
    if "Failed loading config file" in str(error):
        path = next((word.partition("=")[2] for word in argv if word.startswith("--config=")), "")
        if not os.path.isfile(path):
            return f"`--config` is `{path}` but there is no such file; give one of keras_apps/configs/<app>/."
        return f"`--config` is `{path}`, which fails: {str(error).strip().splitlines()[-1].strip()}"
    if isinstance(error, AttributeError):           # what ml_collections raises for --config.<no such key>
        word = re.search(r"'(?:\\')?([\w.]+)", str(error))
        key = word and word.group(1)
        return unknown_key(key, argv) if any(f"{key}=" in given for given in argv) else None
    if isinstance(error, tf.errors.OpError):        # our own sentence, raised while tf.data was reading
        said = re.search(r"(?:ValueError|OSError|DamagedError): (.+)", str(error))
        return said and said.group(1)
    return None


def unknown_key(key, argv):
    """The sentence for a `--config.<key>` that the config of `--config=FILE` has not, with its neighbours."""
    given = [word.split("=")[0][len("--config."):] for word in argv if word.startswith("--config.")]
    full = next((word for word in given if word.split(".")[-1] == key), key)
    known = {*base(), *flat(base().to_dict())}
    for path in (word.partition("=")[2] for word in argv if word.startswith("--config=")):
        with contextlib.suppress(Exception):        # what is wrong with the file itself is told elsewhere
            config = runpy.run_path(path)["get_config"]()
            known |= {*config, *flat(config.to_dict())}
    return f"`{full}` is not a key of this config; did you mean {', '.join(neighbours(full, sorted(known)))}?"
