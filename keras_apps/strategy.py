"""Where a run computes: one device, several of one machine, several machines, parameter servers, or a TPU."""

import os
import signal
import sys

import tensorflow as tf

from keras_apps.cluster import cluster_of

NAMES = ("one", "mirrored", "multi_worker", "parameter_server", "tpu")
SHARD_BYTES = 64 * 1024     # variables from this size on are dealt over the parameter servers


def make_strategy(name, replicas=0, tpu=""):
    """The `tf.distribute` strategy of a run. To be called before TensorFlow has computed anything.

    A worker or parameter server of a parameter_server cluster serves in here until it is ended and never returns.

    Args:    name: "one" | "mirrored" | "multi_worker" (processes named by TF_CONFIG, each with all GPUs of its machine,
             or its CPU) | "parameter_server" (TF_CONFIG with chief, worker and ps) | "tpu" (untested: written
             against the documented interface).
             replicas: for "mirrored", 0 = all GPUs; a number on a machine without GPUs splits the CPU into that many
             logical devices.
             tpu: address or name of the TPU, "" = the local one.
    Raises:  ValueError for an unknown name, a number of replicas the machine cannot give, or a wrong TF_CONFIG.
    """
    if name not in NAMES:
        raise ValueError(f"`strategy` is {name!r} but must be one of {', '.join(NAMES)}.")
    if replicas < 0:
        raise ValueError(f"`replicas` is {replicas} but must be at least 0.")
    if replicas > 1 and name != "mirrored":
        where = "computes in one place" if name == "one" else "takes its replicas from the cluster"
        raise ValueError(f"`replicas` is {replicas} but --strategy={name} {where}; use --strategy=mirrored or leave it "
                         "out.")
    if name in ("one", "mirrored") and os.environ.get("TF_CONFIG"):
        print(f"warning: `TF_CONFIG` is set but --strategy={name} trains in this process alone; give "
              "--strategy=multi_worker to train together.", file=sys.stderr)
    return {"one": tf.distribute.get_strategy, "mirrored": lambda: _mirrored(replicas), "multi_worker": _multi_worker,
            "parameter_server": _parameter_server, "tpu": lambda: _tpu(tpu)}[name]()


def _mirrored(replicas):
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


def _multi_worker():
    cluster, job, _ = cluster_of()
    if job not in ("chief", "worker") or set(cluster) - {"chief", "worker"}:
        raise ValueError(f"`TF_CONFIG` has the jobs {', '.join(cluster)} and this task is a {job!r} but "
                         "--strategy=multi_worker takes workers only, one of which may be called chief.")
    return tf.distribute.MultiWorkerMirroredStrategy()


def _parameter_server():
    cluster, job, index = cluster_of()
    for needed in ("chief", "worker", "ps"):
        if not cluster.get(needed):
            raise ValueError(f"`TF_CONFIG` has the jobs {', '.join(cluster)} but --strategy=parameter_server needs a "
                             f"chief, workers and ps; add {needed!r}.")
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    if job in ("worker", "ps"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)       # the chief still saves when all are told to end
        print(f"{job} {index} serves at {cluster[job][index]}", file=sys.stderr, flush=True)
        tf.distribute.Server(resolver.cluster_spec(), job_name=job, task_index=index, protocol="grpc").join()
    if job != "chief":
        raise ValueError(f"`TF_CONFIG` makes this task a {job!r} but it must be chief, worker or ps.")
    return tf.distribute.experimental.ParameterServerStrategy(
        resolver, variable_partitioner=tf.distribute.experimental.partitioners.MinSizePartitioner(
            min_shard_bytes=SHARD_BYTES, max_shards=len(cluster["ps"])))


def _tpu(address):
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(address)
    except (ValueError, OSError, tf.errors.OpError) as error:
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"`strategy` is tpu but no TPU was found at {address or 'this machine'!r} ({said}); give its "
                         "name by --tpu, or use another strategy.") from error
    return tf.distribute.TPUStrategy(resolver)


