"""S1c: what a lone client waits for beyond the model."""

import functools

import numpy as np

from benchmarks import serving_work as work
from benchmarks.row import Peer, Row

TINY = {"requests": 10}


class Ours(work.Served):
    def call(self):
        return work.quantile(self.client.ask, int(self.arrays["requests"]), 0.5)


class Direct:
    """The network called in a loop, one image at a time."""

    def __init__(self, arrays):
        self.arrays, self.network = arrays, work.network(arrays)

    def call(self):
        return work.quantile(self._embedded, int(self.arrays["requests"]), 0.5)

    def result(self):
        return {"embeddings": np.concatenate([self._embedded(place) for place in range(work.IMAGES)])}

    def _embedded(self, place):
        return self.network.embed(self.arrays["images"][place % work.IMAGES][None])["embedding"].numpy()


def row(requests=500):
    return Row(
        work=f"median of {requests} requests of one {work.SIDE} x {work.SIDE} x 3 image each, one after the other, "
             "batching on as in S1; peer: the network called in a loop; limit: gRPC without a model, measured; equal: "
             "largest difference of a coordinate",
        unit="ms",
        inputs=functools.partial(work.inputs, requests, 1),
        ours=Ours,
        peers={"direct_call": Peer(Direct, tolerance=1e-5, own=True)},
        headline="direct_call",
        equal=work.differ,
    )
