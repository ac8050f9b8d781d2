"""Starting from the encoder of another run."""

import os
import re

import tensorflow as tf

from keras_apps.checkpoints import Host
from keras_apps.paths import inside, paths_of

NEEDED = "network/backbone"     # must fit whole; of the rest of `network` whatever fits is taken
VALUE = ".ATTRIBUTES/VARIABLE_VALUE"


def start_from(app, workdir):
    """Gives an app's network the weights of another run's newest checkpoint, averaged ones where it has them.

    Args:    app: built, in whose scope this runs.  workdir: of the other run.
    Returns: a sentence that says what was taken.
    Raises:  ValueError where there is no checkpoint, or its backbone has other variables or shapes.
    """
    path = tf.train.latest_checkpoint(os.path.join(workdir, "checkpoints"))
    if not path:
        raise ValueError(f"`init` is {workdir} but holds no checkpoint; name the --workdir of a `keras_apps.train`.")
    reader = tf.train.load_checkpoint(path)
    known = reader.get_variable_to_shape_map()
    keys = {match[1]: key for key in known if (match := re.fullmatch(rf"app/(.*)/{re.escape(VALUE)}", key))}
    averages = Host.read(reader.get_tensor("host/.ATTRIBUTES/py_state"))[0]["facts"].get("averages", [])
    keys.update({name: f"averages/variables_held/{i}/{VALUE}" for i, name in enumerate(averages) if name})
    own = {name: v for name, v in paths_of(app).items() if inside(name, "network")}
    fits = {name: keys[name] for name, v in own.items() if name in keys and known[keys[name]] == v.shape.as_list()}
    for name, v in own.items():
        if inside(name, NEEDED) and name not in fits:
            there = f"has the shape {known[keys[name]]}" if name in keys else "is not"
            raise ValueError(f"`init` is {workdir} but its backbone is another one: `{name}` {there} there and has the "
                             f"shape {v.shape.as_list()} here; use the same `backbone` as that run.")
    for name, key in fits.items():
        own[name].assign(reader.get_tensor(key))
    left = sorted(set(own) - set(fits))
    rest = f"; new: {', '.join(left)}" if left else ""
    return f"{len(fits)} of {len(own)} variables of the network come from {path}{rest}"
