"""S1d: how much longer than its median the slowest requests of a lone client take."""

import functools

from benchmarks import serving_work as work
from benchmarks.row import Peer, Row

TINY = {"requests": 10}


class P99(work.Served):
    def call(self):
        return work.quantile(self.client.ask, int(self.arrays["requests"]), 0.99)


class Median(work.Served):
    def call(self):
        return work.quantile(self.client.ask, int(self.arrays["requests"]), 0.5)


def row(requests=500):
    return Row(
        work=f"99th percentile of {requests} requests of one {work.SIDE} x {work.SIDE} x 3 image each, one after the "
             "other, batching on as in S1; peer: the median, so that ratio is 1 : p99 in medians; limit: gRPC without "
             "a model, measured; equal: largest difference of a coordinate",
        unit="ms",
        inputs=functools.partial(work.inputs, requests, 1),
        ours=P99,
        peers={"median": Peer(Median, tolerance=1e-5, own=True)},
        headline="median",
        equal=work.differ,
    )
