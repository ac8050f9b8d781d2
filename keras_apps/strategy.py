"""Where a run computes: one device, or several replicas of one machine."""

import tensorflow as tf

NAMES = ("one", "mirrored")


def make_strategy(name, replicas=0):
    """The `tf.distribute` strategy of a run.

    Args:    name: "one" | "mirrored".
             replicas: for "mirrored", 0 = all GPUs; a number on a machine without GPUs splits the CPU into that many
             logical devices (nothing may have run on it yet).
    Raises:  ValueError for an unknown name or a number of replicas the machine cannot give.
    """
    if name not in NAMES:
        raise ValueError(f"`strategy` is {name!r} but must be one of {', '.join(NAMES)}.")
    if replicas < 0:
        raise ValueError(f"`replicas` is {replicas} but must be at least 0.")
    if name == "one":
        if replicas > 1:
            raise ValueError(f"`replicas` is {replicas} but --strategy=one computes in one place; use "
                             "--strategy=mirrored or leave it out.")
        return tf.distribute.get_strategy()
    gpus = tf.config.list_physical_devices("GPU")
    if replicas > len(gpus) and gpus:
        raise ValueError(f"`replicas` is {replicas} but the machine has {len(gpus)} GPUs; use {len(gpus)} or less.")
    if gpus:
        return tf.distribute.MirroredStrategy([f"GPU:{i}" for i in range(replicas or len(gpus))])
    if replicas < 1:
        raise ValueError("`strategy` is mirrored but the machine has no GPU; give --replicas=2 to split the CPU, or "
                         "--strategy=one.")
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0],
                                               [tf.config.LogicalDeviceConfiguration()] * replicas)
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])
