"""S1c: what a lone client waits for beyond the model."""

import functools

import numpy as np

from benchmarks import serving_work as work
from benchmarks.row import Peer, Row

TINY = {"requests": 10}


class Direct:
    """The network called in a loop, one image at a time."""

    def __init__(self, arrays):
        self.arrays, self.network = arrays, work.network(arrays)

    def call(self):
        count = int(self.arrays["requests"])
        for place in range(count):
            self.network.embed(self.arrays["images"][place % work.IMAGES][None])["embedding"].numpy()
        return count

    def result(self):
        return {"embeddings": np.concatenate([self.network.embed(image[None])["embedding"].numpy()
                                              for image in self.arrays["images"]])}


def row(requests=500):
    return Row(
        work=f"{requests} requests of one {work.SIDE} x {work.SIDE} x 3 image each, one after the other, batching on "
             "as in S1; peer: the network called in a loop; limit: gRPC without a model, measured; equal: largest "
             "difference of a coordinate",
        unit="ms/request",
        inputs=functools.partial(work.inputs, requests, 1),
        ours=work.Served,
        peers={"direct_call": Peer(Direct, tolerance=1e-5, own=True)},
        headline="direct_call",
        equal=work.differ,
    )
