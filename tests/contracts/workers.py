"""The dummy apps trained by the processes of a cluster, started by `keras_apps.launch.Cluster`.

    python -m tests.contracts.workers OUT.npz WORKDIR --strategy=multi_worker
"""

import sys

import numpy as np

from keras_apps.cluster import Workers
from keras_apps.strategy import make_strategy
from tests.contracts.dummies import APPS
from tests.contracts.replicas import state, train, values_of


def main(out, workdir, strategy):
    strategy, arrays = make_strategy(strategy.partition("=")[2]), {}
    for kind in APPS:
        app, loop, _ = train(kind, strategy, f"{workdir}/{kind}", ema=0.5, clip=5.0)
        arrays.update({f"{kind}/weights/{name}": value for name, value in state(app).items()})
        arrays.update({f"{kind}/averages/{i}": value for i, value in enumerate(values_of(loop.averages))})
    if Workers(strategy).chief:
        np.savez(out, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
