"""S1b: how much of what gRPC can do without a model is left with one."""

import functools

from benchmarks import serving_work as work
from benchmarks.row import Peer, Row

TINY = {"requests": 24, "clients": 4}


class Empty:
    """The same calls, answered without a model: what cannot be beaten."""

    def __init__(self, arrays):
        self.served = work.Served(arrays, model=False)

    def call(self):
        return self.served.call()

    def result(self):
        return {}


class Ours(work.Served):
    def result(self):
        return {}


def row(requests=2000, clients=32):
    return Row(
        work=f"{requests} requests of one {work.SIDE} x {work.SIDE} x 3 image each, by {clients} clients at once on "
             "the server's own cores; peer: the same server without a model, so that ratio is the share that is left; "
             "limit: the same; equal: 0, nothing is compared",
        unit="requests/s",
        inputs=functools.partial(work.inputs, requests, clients),
        ours=Ours,
        peers={"without_model": Peer(Empty, tolerance=0.0, own=True)},
        headline="without_model",
        equal=lambda arrays, ours, peer: 0.0,
    )
