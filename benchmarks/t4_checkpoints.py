"""T4: a checkpoint of everything that a training needs to go on."""

import functools
import os
import tempfile

from benchmarks import t1_training_step as t1
from benchmarks.row import Peer, Row

EVERY, KEEP = 500, 3        # steps between two, and how many stay, as by default
SAVES = 5                   # of a call
TINY = {"widths": (4, 4, 4)}


class Ours:
    """`loop.save()`: weights, momentum, averages, step, config, random generators; none that is not finite."""

    def __init__(self, arrays):
        self.arrays, self.folder = arrays, tempfile.TemporaryDirectory()
        self.loop = self._loop(t1.classifier(arrays))

    def _loop(self, app):
        import tensorflow as tf

        from keras_apps.loop import Loop

        return Loop(app, app.config, lambda stage: t1.Draws(self.arrays), tf.distribute.get_strategy(),
                    self.folder.name)

    def call(self):
        for _ in range(SAVES):
            self.loop.step.assign_add(EVERY)
            self.loop.save()
        return SAVES

    def bound(self):
        """The bytes of weights, momentum and averages into files of their own."""
        parts = [variable.numpy() for variable in t1.trained(self.loop.app).values()] * 3
        for number in range(SAVES):
            with open(os.path.join(self.folder.name, f"bytes-{number % KEEP}"), "wb") as file:
                for part in parts:
                    file.write(part)
        return SAVES

    def result(self):
        """What another run finds in the checkpoint."""
        self.call()
        app = t1.classifier({name: values for name, values in self.arrays.items() if "/" not in name})
        loop = self._loop(app)
        loop.restore()
        return t1.values(app, loop.averages)


class Torch(t1.Torch):
    """`torch.save` of the same: weights, momentum, averages, step."""

    def __init__(self, arrays):
        import torch

        super().__init__(arrays)
        self.arrays = arrays
        self.folder, self.saved = tempfile.TemporaryDirectory(), []
        for parameter in self.parameters:       # momentum is made in the first step; this one moves nothing
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()

    def call(self):
        import torch

        for _ in range(SAVES):
            self.taken += EVERY
            path = os.path.join(self.folder.name, f"{self.taken}.pt")
            torch.save({"step": self.taken, "network": self.net.state_dict(), "averages": self.averages,
                        "optimizer": self.optimizer.state_dict()}, path)
            self.saved.append(path)
            if len(self.saved) > KEEP:
                os.remove(self.saved.pop(0))
        return SAVES

    def result(self):
        import torch

        self.call()
        found, other = torch.load(self.saved[-1]), t1.Torch(self.arrays)
        other.net.load_state_dict(found["network"])
        other.averages = found["averages"]
        return other.values()


def row(widths=(32, 64, 128, 256)):
    return Row(
        work="checkpoints of a residual net of 1.3 M parameters with momentum and averages, the newest 3 kept; limit: "
             "as many bytes into a file, measured; equal: weights and averages read back",
        unit="ms/save",
        inputs=functools.partial(t1.inputs, 8, 1, widths),
        ours=Ours,
        peers={"torch": Peer(Torch, tolerance=0.0)},
        headline="torch",
        equal=t1.equal,
    )
