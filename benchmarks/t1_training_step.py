"""T1: a step of the suite's training loop, beside the bare step and beside the same network in PyTorch."""

import functools
import queue
import tempfile
import threading

import numpy as np

from benchmarks.row import Peer, Row

CLASSES, DIMENSION = 100, 128
RATE, MOMENTUM, CLIP, EMA = 0.05, 0.9, 1.0, 0.999
STEPS = 4           # of a call; the loop logs once in as many, five times as often as by default
COMPARED = 3        # steps after which the results are compared
FOREVER = 10 ** 9
TINY = {"size": 8, "batch": 4, "widths": (4, 4, 4)}


# ---- the work

def inputs(size, batch, widths):
    """Batches of noise, and first values of all that is trained: by path, in the network's order, none of them 0."""
    random = np.random.default_rng(0)
    arrays = {"images": random.random((STEPS, batch, size, size, 3), np.float32),
              "labels": random.integers(0, CLASSES, (STEPS, batch), np.int32), "widths": np.array(widths)}
    for path, variable in trained(classifier(arrays)).items():
        shape = variable.shape.as_list()
        centre, spread = {"gamma": (1.0, 0.2), "beta": (0.0, 0.2)}.get(
            path.rpartition("/")[2], (0.0, (2.0 / np.prod(shape[:-1])) ** 0.5))
        arrays[path] = random.normal(centre, spread, shape).astype(np.float32)
    return arrays


def classifier(arrays, **changed):
    """The app: images through backbone, pooling and embedding to classes.

    Args:    arrays: the inputs; variables whose path is among them take those values.  changed: keys of the config.
    """
    from keras_apps.app import App
    from keras_apps.config import base, settle
    from keras_apps.embedding import EmbeddingNetwork
    from keras_apps.heads.linear import LinearHead

    class ClassifierApp(App):
        def __init__(self, config, widths, shape):
            super().__init__(config, None)
            backbone = f"resnet(widths={widths}, blocks={(1,) * len(widths)})"
            self.network = EmbeddingNetwork(backbone, "average()", DIMENSION, shape)
            self.head = LinearHead(CLASSES, DIMENSION)

        def variables(self, stage, phase):
            return {"network": [*self.network.trainable_variables, self.head.weights, self.head.bias]}

        def losses(self, phase, batch, seed, step):
            embeddings = self.network(batch["image"], training=True)
            return {"head": self.head.loss(embeddings, batch["label"], step)}, None

        def weights(self, phase, step):
            return {"head": 1.0}

    config = base()
    config.update({"app": "verification", "batch": arrays["labels"].shape[1], "steps": FOREVER, "log_every": STEPS,
                   "checkpoint_every": FOREVER, "clip": CLIP, "ema": EMA, **changed})
    config.optimizers = {"network": f"sgd(rate={RATE}, momentum={MOMENTUM})"}
    app = ClassifierApp(settle(config), tuple(arrays["widths"].tolist()), arrays["images"].shape[2:])
    for path, variable in trained(app).items():
        if path in arrays:
            variable.assign(arrays[path])
    return app


def trained(app):
    """{path: variable} of what the optimizer moves."""
    from keras_apps.paths import paths_of

    names = {id(variable): path for path, variable in paths_of(app).items()}
    return {names[id(variable)]: variable for variable in app.variables("", "")["network"]}


def values(app, averages):
    """{path: array} of all variables of an app, and of the averages as average/<path>."""
    from keras_apps.paths import paths_of

    return {**{path: variable.numpy() for path, variable in paths_of(app).items()},
            **{f"average/{path}": average.numpy() for path, average in zip(trained(app), averages)}}


class Draws:
    """The batches as the loop asks for them, from memory."""

    def __init__(self, arrays):
        self.arrays = {"image": arrays["images"], "label": arrays["labels"]}

    def dataset(self, start, replicas, here, memo):
        import tensorflow as tf

        del replicas, here, memo
        return tf.data.Dataset.from_tensor_slices(self.arrays).repeat().skip(start % STEPS).prefetch(1)


class Gate:
    """An action that lets the loop it belongs to, in a thread of its own, take so many steps at a time."""

    def __init__(self):
        self.left, self.asked, self.answers = 0, queue.Queue(), queue.Queue()

    def open(self, loop):
        """Starts the loop, which comes as far as its first step."""
        def run():
            try:
                self.answers.put(loop.run())
            except BaseException as error:      # told where the steps are asked for
                self.answers.put(error)
        threading.Thread(target=run, daemon=True).start()
        self._wait()

    def take(self, steps):
        self.asked.put(steps)
        self._wait()

    def _wait(self):
        answer = self.answers.get()
        if isinstance(answer, BaseException):
            raise answer

    def at(self, step):
        if not self.left:
            self.answers.put(step)
            self.left = self.asked.get()
        self.left -= 1

    def __call__(self, loop, logs):
        """Logs are for others."""


# ---- the sides

class Ours:
    """The loop as training has it: clipping, averages, `metrics.jsonl`, TensorBoard."""

    changed, watched = {}, True

    def __init__(self, arrays):
        import tensorflow as tf

        from keras_apps.actions import WriteHistory, WriteTensorBoard
        from keras_apps.loop import Loop

        self.arrays, self.folder, self.gate = arrays, tempfile.TemporaryDirectory(), Gate()
        self.app = classifier(arrays, **self.changed)
        writers = [kind(self.folder.name) for kind in (WriteHistory, WriteTensorBoard) if self.watched]
        self.loop = Loop(self.app, self.app.config, lambda stage: Draws(arrays), tf.distribute.get_strategy(),
                         actions=[*writers, self.gate])
        self.gate.open(self.loop)

        @tf.function(autograph=False)
        def convolutions(images):
            kernels = [variable for variable in trained(self.app).values() if variable.shape.rank == 4]
            with tf.GradientTape() as tape:
                total = tf.reduce_sum(_convolved(images, iter(kernels), len(arrays["widths"])))
            return tape.gradient(total, kernels)
        self.convolutions = convolutions

    def call(self):
        self.gate.take(STEPS)
        return STEPS * self.arrays["labels"].shape[1]

    def bound(self):
        """The convolutions alone, forwards and backwards."""
        self.convolutions(self.arrays["images"][0])
        return self.arrays["labels"].shape[1]

    def result(self):
        """To be asked before any call, as of all sides here."""
        self.gate.take(COMPARED)
        return values(self.app, self.loop.averages)


class NoAverages(Ours):
    changed = {"ema": 0.0}


class NoLogs(Ours):
    watched = False


class Bare:
    """The same step as a plain tf.function: nothing is logged, checked, stopped or kept."""

    def __init__(self, arrays):
        import tensorflow as tf

        self.app, self.taken = classifier(arrays), 0
        self.batches = [tuple(map(tf.constant, batch)) for batch in zip(arrays["images"], arrays["labels"])]
        variables = list(trained(self.app).values())
        self.averages = [tf.Variable(variable, trainable=False) for variable in variables]
        optimizer = tf.keras.optimizers.SGD(RATE, MOMENTUM, jit_compile=False)
        optimizer.build(variables)

        @tf.function(autograph=False)
        def step(images, labels, rest):
            with tf.GradientTape() as tape:
                embeddings = self.app.network(images, training=True)
                loss = tf.reduce_mean(self.app.head.loss(embeddings, labels, 0))
            gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), CLIP)
            optimizer.apply_gradients(zip(gradients, variables))
            for average, variable in zip(self.averages, variables):
                average.assign_add(rest * (variable - average))
            return loss
        self.step = step

    def _take(self, steps):
        import tensorflow as tf

        for _ in range(steps):
            loss = self.step(*self.batches[self.taken % STEPS], tf.constant(_rest(self.taken), tf.float32))
            self.taken += 1
        return float(loss)

    def call(self):
        self._take(STEPS)
        return STEPS * len(self.batches[0][1])

    def result(self):
        self._take(COMPARED)
        return values(self.app, self.averages)


class Torch:
    """The same network and step in PyTorch, channels last."""

    def __init__(self, arrays):
        import torch

        self.paths, self.taken = [path for path in arrays if "/" in path], 0
        self.net = _torch_network(arrays["widths"].tolist()).to(memory_format=torch.channels_last)
        self.parameters = [parameter for parameter in self.net.parameters() if parameter.requires_grad]
        with torch.no_grad():
            for path, parameter in zip(self.paths, self.parameters, strict=True):
                parameter.copy_(torch.from_numpy(outputs_first(path, arrays[path])))
        self.averages = [parameter.detach().clone() for parameter in self.parameters]
        self.batches = [(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels).long())
                        for images, labels in zip(arrays["images"], arrays["labels"])]
        self.optimizer = torch.optim.SGD(self.parameters, RATE, MOMENTUM)

    def _take(self, steps):
        import torch

        for _ in range(steps):
            images, labels = self.batches[self.taken % STEPS]
            loss = torch.nn.functional.cross_entropy(self.net(images), labels)
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, CLIP)
            self.optimizer.step()
            with torch.no_grad():
                for average, parameter in zip(self.averages, self.parameters):
                    average.lerp_(parameter, _rest(self.taken))
            self.taken += 1

    def call(self):
        self._take(STEPS)
        return STEPS * len(self.batches[0][1])

    def result(self):
        self._take(COMPARED)
        return self.values()

    def values(self):
        return {f"{prefix}{path}": outputs_last(path, parameter.detach().numpy())
                for prefix, parameters in (("", self.parameters), ("average/", self.averages))
                for path, parameter in zip(self.paths, parameters)}


def _rest(taken):
    """1 - d of the averages after so many steps, as `keras_apps/groups.py` has it."""
    return 1.0 - min(EMA, (1.0 + taken) / (10.0 + taken))


def _convolved(x, kernels, stages):
    """The network's convolutions and sums, without norms and activations."""
    import tensorflow as tf

    def conv(x, stride):
        return tf.nn.conv2d(x, next(kernels), stride, "SAME")
    x = conv(x, 1)
    for stride in (1,) + (2,) * (stages - 1):
        straight = conv(conv(x, stride), 1)
        x = straight + (conv(x, stride) if stride > 1 else x)
    return x


def _torch_network(widths):
    """`keras_apps/backbones/resnet.py` and `embedding.py` once more; parameters in the same order."""
    from torch import nn

    def conv(before, width, size, stride):
        if (size, stride) == (3, 2):        # of an even length TensorFlow pads the end only
            return nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(before, width, 3, 2, bias=False))
        return nn.Conv2d(before, width, size, stride, padding=size // 2, bias=False)

    def norm(width, kind=nn.BatchNorm2d):
        return kind(width, eps=1.001e-5)

    class Block(nn.Module):
        def __init__(self, before, width, stride):
            super().__init__()
            self.path = nn.Sequential(conv(before, width, 3, stride), norm(width), nn.ReLU(inplace=True),
                                      conv(width, width, 3, 1), norm(width))
            self.shortcut = (nn.Sequential(conv(before, width, 1, stride), norm(width)) if stride > 1
                             else nn.Identity())

        def forward(self, x):
            return nn.functional.relu(self.path(x) + self.shortcut(x), inplace=True)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Sequential(
                conv(3, widths[0], 3, 1), norm(widths[0]), nn.ReLU(inplace=True), Block(widths[0], widths[0], 1),
                *(Block(before, width, 2) for before, width in zip(widths, widths[1:])))
            self.project = nn.Linear(widths[-1], DIMENSION, bias=False)
            self.norm = norm(DIMENSION, nn.BatchNorm1d)
            self.norm.bias.requires_grad_(False)        # ours has none
            self.head = nn.Linear(DIMENSION, CLASSES)

        def forward(self, images):
            pooled = self.backbone(images * 4.0 - 2.0).mean((2, 3))
            return self.head(self.norm(self.project(pooled)))

    return Network()


def outputs_first(path, values):
    """A kernel [..., in, out] as PyTorch has it, [out, in, ...]; anything else as it is."""
    return np.ascontiguousarray(np.moveaxis(values, (-1, -2), (0, 1))) if path.endswith("kernel") else values


def outputs_last(path, values):
    """The way back."""
    return np.moveaxis(values, (0, 1), (-1, -2)) if path.endswith("kernel") else values


def equal(arrays, ours, peer):
    """The largest difference in what both have."""
    del arrays
    return np.max([np.abs(ours[path] - values).max() for path, values in peer.items() if path in ours])


def row(size=64, batch=64, widths=(32, 64, 128, 256)):
    return Row(
        work=f"training steps of a residual net of 1.3 M parameters, {batch} images of {size} px, momentum, clipping "
             f"and averaged weights, logs to file and TensorBoard every {STEPS} steps; beside it the bare step, and "
             "the loop without averages and without logs; limit: the convolutions alone, forwards and backwards, "
             f"measured; equal: weights and their averages after {COMPARED} steps",
        unit="images/cpu-s",
        inputs=functools.partial(inputs, size, batch, widths),
        ours=Ours,
        peers={"torch": Peer(Torch, tolerance=2e-4), "bare": Peer(Bare, tolerance=1e-5, own=True),
               "no-averages": Peer(NoAverages, tolerance=1e-5, own=True),
               "no-logs": Peer(NoLogs, tolerance=1e-5, own=True)},
        headline="torch",
        equal=equal,
    )
