"""Starting from the encoder of another run."""

import os
import re

import tensorflow as tf

from keras_apps.checkpoints import Host, checkpoints_in
from keras_apps.paths import inside, paths_of

NEEDED = "network/backbone"     # must fit whole; of the rest of `network` whatever fits is taken
VALUE = ".ATTRIBUTES/VARIABLE_VALUE"
HOST = "host/.ATTRIBUTES/py_state"


def checkpoints_of(workdir, key="init"):
    """The checkpoints of the run that `init` names, newest first.   Raises: ValueError where there is none."""
    paths = checkpoints_in(os.path.join(workdir, "checkpoints"))
    if not paths:
        raise ValueError(f"`{key}` is {workdir} but holds no checkpoint; name the --workdir of a `keras_apps.train`.")
    return paths


def start_from(app, workdir, key="init"):
    """Gives an app's network the weights of another run's newest checkpoint, averaged ones where it has them.

    Args:    app: built, in whose scope this runs; or anything else that holds a `network`.  workdir: of the other run.
             key: of the config that names it.
    Returns: a sentence that says what was taken.
    Raises:  ValueError where there is no checkpoint, or its backbone has other variables or shapes.
    """
    reasons = []
    for path in checkpoints_of(workdir, key):
        try:
            return _take(app, workdir, path, key)
        except (tf.errors.OpError, IndexError) as error:
            reasons.append(str(error).splitlines()[0])
    raise ValueError(f"`{key}` is {workdir} but none of its checkpoints can be read ({reasons[0]}); name another run.")


def _take(app, workdir, path, key):
    reader = tf.train.load_checkpoint(path)
    known = reader.get_variable_to_shape_map()
    keys = {match[1]: key for key in known if (match := re.fullmatch(rf"app/(.*)/{re.escape(VALUE)}", key))}
    if HOST not in known:
        raise ValueError(f"`{key}` is {workdir} but {path} is not of `keras_apps.train`; name another run.")
    averages = Host.read(reader.get_tensor(HOST))[0]["facts"].get("averages", [])
    keys.update({name: f"averages/variables_held/{i}/{VALUE}" for i, name in enumerate(averages) if name})
    own = {name: v for name, v in paths_of(app).items() if inside(name, "network")}
    fits = {name: keys[name] for name, v in own.items() if name in keys and known[keys[name]] == v.shape.as_list()}
    for name, v in own.items():
        if inside(name, NEEDED) and name not in fits:
            there = f"has the shape {known[keys[name]]}" if name in keys else "is not"
            raise ValueError(f"`{key}` is {workdir} but its backbone is another one: `{name}` {there} there and has "
                             f"the shape {v.shape.as_list()} here; use the same `backbone` as that run.")
    values = {name: reader.get_tensor(key) for name, key in fits.items()}       # all, before one is changed
    for name, value in values.items():
        own[name].assign(value)
    left = sorted(set(own) - set(fits))
    rest = f"; new: {', '.join(left)}" if left else ""
    return f"{len(fits)} of {len(own)} variables of the network come from {path}{rest}"
