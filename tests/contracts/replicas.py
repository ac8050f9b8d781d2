"""Everything that must not depend on the number of replicas, run in a process of its own.

    python -m tests.contracts.replicas REPLICAS OUT.npz WORKDIR DATA
"""

import re
import sys

import numpy as np
import tensorflow as tf

from keras_apps.build import build, methods, parse
from keras_apps.configs.verification.digits import get_config
from keras_apps.local import LocalVariable
from keras_apps.loop import Loop
from keras_apps.run import Run
from keras_apps.strategy import make_strategy
from tests.contracts.dummies import APPS, dummy_config
from tfrecords.methods import ROOT

# What an app may tell a method's constructor; `build` passes on what it asks for.
FACTS = {"classes": 5, "dimension": 5, "seed": 1, "kinds": 3, "counts": (4, 4, 4, 3, 1)}
# In these folders alone: elsewhere `size` is something else.
IMAGES = {"size": (16, 16), "channels": 2, "latent": 3}


def encoder(images):
    """What a backbone gives, of nothing but pooled pixels bent: a smooth network without variables, in any dtype."""
    maps, found = images, {}
    for level in ("map3", "map4", "map5"):
        maps = tf.nn.avg_pool2d(tf.tanh(tf.concat([2 * maps, 1 - maps], axis=-1)), 2, 2, "SAME")
        found[level] = maps
    return found


FOLDER_FACTS = {"generators": IMAGES, "critics": IMAGES, "losses/pixel": {"encoder": encoder}}


# What else moves weights: parts of a batch, rates of single layers, a scaled loss whose sound steps alone count.
CRAFT = {"parts": ("grow", {"accumulate": 2, "ema": 0.5, "clip": 1.0,
                            "rates": ("layers(path='small', factor=0.3)", "layers(path='large', start=4)")}),
         "scaled": ("sharded", {"precision": "float16", "ema": 0.5, "clip": 1.0})}


def state(app):
    """Every variable of an app by name, shards gathered."""
    found = {}
    for key, value in vars(app).items():
        for i, item in enumerate(value if isinstance(value, (list, tuple)) else [value]):
            if isinstance(item, LocalVariable):
                found[f"{key}/{i}"] = item.gathered()
            elif isinstance(item, (tf.Variable, tf.distribute.DistributedValues)):
                found[f"{key}/{i}"] = item.numpy()
    return found


def values_of(variables):
    """Their values as arrays, shards gathered."""
    return [variable.gathered() if isinstance(variable, LocalVariable) else variable.numpy() for variable in variables]


def train(kind, strategy, workdir=None, **words):
    config = dummy_config(groups=APPS[kind].groups, **words)
    with strategy.scope():
        app = APPS[kind](config)
    curve = []
    loop = Loop(app, config, app.data, strategy, workdir, [lambda loop, logs: curve.append(
        [value for name, value in sorted(logs.items()) if name.split("/")[0] not in ("rate", "images_per_second")])])
    loop.run()
    return app, loop, np.array(curve)


def first_moments(loop):
    """Adam's first moments after one step: 0.1 x gradient, by group."""
    found = {group: np.concatenate([m.numpy().ravel() for m in optimizer._momentums])
             for group, optimizer in loop.groups.optimizers.items()}
    for group, local in loop.groups.locals.items():
        found[group] = np.concatenate([np.concatenate([optimizer._momentums[0].numpy() for optimizer in optimizers])
                                       [:variable.rows].ravel()
                                       for variable, optimizers in zip(local.local, local.optimizers)])
    return found


_DRAW = np.random.default_rng(0)
EMBEDDINGS = _DRAW.normal(size=(16, 5))
LABELS = np.repeat(np.arange(5), [4, 4, 4, 3, 1]).astype(np.int32)[_DRAW.permutation(16)]
KINDS = np.arange(16, dtype=np.int32) % 3
OTHER, VIEWS = _DRAW.normal(size=(16, 5)), _DRAW.normal(size=(16, 3, 5))
MAPS = _DRAW.normal(size=(16, 4, 4, 5)).astype(np.float32)

LATENTS = _DRAW.normal(size=(16, 3)).astype(np.float32)
PICTURES = _DRAW.random(size=(16, 16, 16, 2)).astype(np.float32)
REAL, FAKE, PLANE = _DRAW.random(size=(16, 2, 2, 3)), _DRAW.random(size=(16, 2, 2, 3)), _DRAW.normal(size=(2, 2, 3))
PHOTOS = _DRAW.random(size=(16, 12, 13, 3))


def adversarial(loss, real, fake):
    """All that a loss asks of a critic; between an image and itself a penalty has no random point."""
    def critic(images):
        return tf.reduce_sum(tf.tanh(2 * images * PLANE), axis=(1, 2, 3))
    penalty = loss.penalty(critic, real, real, tf.constant([0, 1]))
    values = loss.critic(critic(real), critic(fake)) + loss.generator(critic(real))
    return values if penalty is None else values + penalty


def drawn(generator, latents):
    """The images of every stage while its layers are faded in, so that all layers draw; a pixel has its own share."""
    images = [generator(latents, stage, 0.5, training=True) for stage in range(len(generator.sizes))]
    pixels = tf.concat([tf.reshape(one, [latents.shape[0], -1]) for one in images], axis=1)
    return pixels * tf.math.l2_normalize(tf.random.stateless_normal([1, pixels.shape[1]], [0, 1]))


def scored(critic, images):
    """The scores of every stage while its layers are faded in, of images cut to its size."""
    sizes = getattr(critic, "sizes", [images.shape[1:3]])
    scores = [critic(images[:, :height, :width], stage, 0.5, training=True)
              for stage, (height, width) in enumerate(sizes)]
    return tf.square(tf.stack(scores, axis=1))      # bent, as norms are


# How the methods of a folder are called, and with what: {folder: ((method, *arrays) -> values [b, ...], arrays)}, or
# how one method is that is told more than its neighbours. The first array is the one whose gradient is compared. A
# folder that is not there yet is walked as soon as it is.
CALLS = {
    "losses/metric": (lambda method, x, labels: method(x, labels), (EMBEDDINGS, LABELS)),
    "losses/views": (lambda method, x, labels: method(x, labels), (VIEWS, LABELS)),
    "losses/pair": (lambda method, x, y, same: method(x, y, same), (EMBEDDINGS, OTHER, LABELS % 2 == 0)),
    "losses/classify": (lambda method, x, labels: method(x, labels), (EMBEDDINGS, LABELS)),
    "losses/consistency": (lambda method, x, y: method(x, y), (EMBEDDINGS, OTHER)),
    "losses/adversarial": (adversarial, (REAL, FAKE)),
    "losses/pixel": (lambda method, x, y: method(x, y), (PHOTOS, PHOTOS[::-1].copy())),
    "heads": (lambda method, x, labels: method.loss(x, labels, 10_000), (EMBEDDINGS, LABELS)),
    "matchers": (lambda method, x, labels, kinds: sum(
        value[0] * value[1] if isinstance(value, tuple) else value
        for value in method.losses(x, labels, kinds).values()), (EMBEDDINGS, LABELS, KINDS)),
    # Bent, since the sum of what a norm gives has no gradient.
    "layers": (lambda method, x: tf.tanh(method(x, training=True)), (MAPS,)),
    "layers/guided_maxout": (lambda method, x, sure: tf.tanh(method(x, sure, training=True)), (
        MAPS[:, 0, 0], np.linspace(0, 1, 16, dtype=np.float32))),
    "generators": (drawn, (LATENTS,)),
    "critics": (scored, (PICTURES,)),
}


def facts(folder):
    """What a folder's methods are told."""
    return {**FACTS, **FOLDER_FACTS.get(folder, {})}


def methods_on(strategy):
    """Values and gradients of every method that may look across the batch, in every mining and distance it has.

    Found by walking the folders; /weights is the gradient of a method's own variables, /state what it keeps without.
    """
    found = {}
    for folder in CALLS:
        if not (ROOT / "keras_apps" / folder).is_dir():
            continue
        for text in [text for name in methods(folder) for text in variants(folder, name)]:
            call, arrays = CALLS.get(f"{folder}/{parse(text)[0]}", CALLS[folder])
            with strategy.scope():
                tf.keras.utils.set_random_seed(1)
                method = build(folder, text, **facts(folder))
            for variable in getattr(method, "trainable_variables", ()):
                if variable.shape.rank > 1 and not variable.numpy().any():      # zeros let no gradient through
                    variable.assign(tf.random.stateless_normal(variable.shape, [0, 1]))
            values, gradients, weights, state = on_replicas(strategy, method, call, arrays)
            found[f"{folder}/{text}/value"] = values
            found[f"{folder}/{text}/gradient"] = gradients
            found.update({f"{folder}/{text}/weights/{i}": value for i, value in enumerate(weights)})
            found.update({f"{folder}/{text}/state/{i}": value for i, value in enumerate(state)})
    return found


def on_replicas(strategy, method, call, arrays):
    """Values [B, ...] and the gradient of their global mean, each replica holding its contiguous slice.

    After them the gradients of the method's own variables, summed over the replicas as the loop does, and the values of
    those that are not trained: queues, centres, moving statistics.
    """
    if isinstance(method, tf.keras.layers.Layer) and not method.built:
        with strategy.scope():
            method.build(arrays[0].shape)
    variables = list(getattr(method, "trainable_variables", ()))

    def replica():
        context = tf.distribute.get_replica_context()
        share = len(arrays[0]) // context.num_replicas_in_sync
        start = context.replica_id_in_sync_group * share
        own, *others = [tf.constant(array)[start:start + share] for array in arrays]
        with tf.GradientTape() as tape:
            tape.watch(own)
            values = call(method, own, *others)
            mean = tf.reduce_sum(values) / len(arrays[0])
        gradient, *slopes = tape.gradient(mean, [own, *variables], unconnected_gradients="zero")
        if slopes:
            slopes = context.all_reduce(tf.distribute.ReduceOp.SUM, [tf.convert_to_tensor(slope) for slope in slopes])
        return [values, gradient], slopes
    parts, slopes = tf.function(lambda: strategy.run(replica), autograph=False)()
    return (*[np.concatenate([part.numpy() for part in strategy.experimental_local_results(found)]) for found in parts],
            [strategy.experimental_local_results(slope)[0].numpy() for slope in slopes],
            [variable.numpy() for variable in getattr(method, "non_trainable_variables", ())])


def variants(folder, name):
    """The method with its defaults, and with each value that its `mining`, `distance`, `norm` and `place` may take."""
    texts = [f"{name}()"]
    for key in ("mining", "distance", "norm", "place"):
        try:
            build(folder, f"{name}({key}='?')", **facts(folder))
        except ValueError as error:
            listed = re.search(r"must be one of ([\w, ]+)", str(error))
            texts += [f"{name}({key}='{value}')" for value in listed.group(1).split(", ")] if listed else []
    return texts


def verification_on(strategy, data):
    """Weights of the real app after three steps on real digits, stochastic layers off."""
    tf.keras.backend.reset_uids()       # layers are numbered; not every process has made as many before
    config = get_config()
    config.update({"steps": 3, "batch": 32, "dropout": 0.0, "ema": 0.0, "schedule": "constant()",
                   "backbone": "small_cnn(widths=(8, 8, 8))", "loss": "triplet()"})
    config.optimizers.network = "sgd(rate=0.02)"
    config.data.update({"mixing": (), "augment": ()})
    run = Run(config, data, strategy)
    run.loop(None).run()
    return {f"verification/{i}/{variable.name}": variable.numpy()
            for i, variable in enumerate(run.app.network.variables + list(run.app.head.variables))}


def main(replicas, out, what, workdir="", data=""):
    """Args: what: "methods", "loop" (with a workdir and data) or "both"."""
    strategy = make_strategy("mirrored" if replicas > 1 else "one", replicas)
    arrays = methods_on(strategy) if what in ("methods", "both") else {}
    if what in ("loop", "both"):
        arrays.update(loop_on(strategy, replicas, workdir, data))
    np.savez(out, **arrays)


def loop_on(strategy, replicas, workdir, data):
    """What the loop makes of apps: weights, averages, gradients, and of a run that goes on from a checkpoint."""
    arrays = {}
    for kind in APPS:
        app, loop, _ = train(kind, strategy, ema=0.5, clip=5.0)
        arrays.update({f"{kind}/weights/{name}": value for name, value in state(app).items()})
        arrays.update({f"{kind}/averages/{i}": value for i, value in enumerate(values_of(loop.averages))})
        with loop.averaged():
            arrays.update({f"{kind}/averaged/{name}": value for name, value in state(app).items()})
        _, loop, curve = train(kind, strategy, optimizer="adam(rate=0.01)", steps=2 if kind == "grow" else 1)
        arrays[f"{kind}/adam_losses"] = curve[:1]
        arrays.update({f"{kind}/adam_gradient/{group}": value for group, value in first_moments(loop).items()
                       if kind != "grow"})
    for name, (kind, words) in CRAFT.items():
        app, loop, _ = train(kind, strategy, **words)
        arrays.update({f"{name}/weights/{key}": value for key, value in state(app).items()})
        arrays.update({f"{name}/averages/{i}": value for i, value in enumerate(values_of(loop.averages))})
    arrays.update(verification_on(strategy, data))
    if replicas == 1:
        # The truth, and half of it as a checkpoint that another number of replicas goes on from.
        app, loop, _ = train("sharded", strategy, steps=8, ema=0.9)
        train("sharded", strategy, workdir, steps=4, ema=0.9)
    else:
        app, loop, curve = train("sharded", strategy, workdir, steps=8, ema=0.9)
        assert len(curve) == 4, f"{len(curve)} steps ran after the checkpoint of step 4"
    arrays["resumed"] = app.classes.gathered()
    arrays.update({f"resumed/averages/{i}": value for i, value in enumerate(values_of(loop.averages))})
    return arrays


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
