"""The backbones of keras-cv, by sizes or with trained weights."""

import contextlib
import inspect
import io
import os
import warnings

import h5py
import tensorflow as tf

with contextlib.redirect_stdout(io.StringIO()):     # it tells its backend, where a command may print a result
    import keras_cv

# By name: the class, and the sizes of the least published net of its kind.
KINDS = {
    "resnet": ("ResNetBackbone", dict(
        stackwise_filters=(64, 128, 256, 512), stackwise_blocks=(2, 2, 2, 2), stackwise_strides=(1, 2, 2, 2),
        block_type="basic_block")),
    "resnet_v2": ("ResNetV2Backbone", dict(
        stackwise_filters=(64, 128, 256, 512), stackwise_blocks=(2, 2, 2, 2), stackwise_strides=(1, 2, 2, 2),
        block_type="basic_block")),
    "densenet": ("DenseNetBackbone", dict(stackwise_num_repeats=(6, 12, 24, 16))),
    "mobilenet_v3": ("MobileNetV3Backbone", dict(
        stackwise_expansion=(1, 72 / 16, 88 / 24, 4, 6, 6, 3, 3, 6, 6, 6),
        stackwise_filters=(16, 24, 24, 40, 40, 40, 48, 48, 96, 96, 96),
        stackwise_kernel_size=(3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 5), stackwise_stride=(2, 2, 1, 2, 1, 1, 1, 1, 2, 1, 1),
        stackwise_se_ratio=(0.25, None, None, *[0.25] * 8),
        stackwise_activation=(*["relu"] * 3, *["hard_swish"] * 8))),
    "efficientnet_v2": ("EfficientNetV2Backbone", dict(
        width_coefficient=1.0, depth_coefficient=1.0, stackwise_kernel_sizes=(3,) * 6,
        stackwise_num_repeats=(1, 2, 2, 3, 5, 8), stackwise_input_filters=(32, 16, 32, 48, 96, 112),
        stackwise_output_filters=(16, 32, 48, 96, 112, 192), stackwise_expansion_ratios=(1, 4, 4, 4, 6, 6),
        stackwise_squeeze_and_excite_ratios=(0, 0, 0, 0.25, 0.25, 0.25), stackwise_strides=(1, 2, 2, 2, 1, 2),
        stackwise_conv_types=(*["fused"] * 3, *["unfused"] * 3))),
    "csp_darknet": ("CSPDarkNetBackbone", dict(
        stackwise_channels=(48, 96, 192, 384), stackwise_depth=(1, 3, 3, 1))),
}
OURS = ("self", "include_rescaling", "input_shape", "input_tensor", "kwargs")
PRESET = "preset:"
MOMENTUM = 0.9      # of moving statistics at most; 0.999 is behind for thousands of steps, as many as a small set has


class KerasCvBackbone(tf.keras.Model):
    """A network of keras-cv; its pyramid levels before the last two are map3 and map4, its output is map5.

    Args:    name: "resnet" | "resnet_v2" | "densenet" | "mobilenet_v3" | "efficientnet_v2" | "csp_darknet".
             sizes: constructor arguments of keras-cv's class in place of the least published net's (ResNet-18,
             DenseNet-121, MobileNetV3 small, EfficientNetV2-B0, CSPDarkNet tiny), such as
             {"stackwise_blocks": (3, 4, 6, 3)}; at least three pyramid levels.
             weights: "" = drawn, "preset:NAME" = keras-cv's own network of that name, fetched from the internet, or a
             file (.h5) that `save_weights` of keras-cv's class wrote for these sizes; read whenever the network is
             made.
             channels: of the images; the caller's fact. Of one channel they are repeated to three.
    Call:    images [b,H,W,C] in [0, 1], training -> {"map3", "map4", "map5"}, each [b,h,w,d].
    Raises:  ValueError for an unknown name, sizes that make no network, a preset that is unknown or out of reach, or
             weights of other sizes; OSError where the file is missing or damaged.
    Source:  keras-cv 0.9.
    Differs: batch norm takes the statistics of all replicas, and keeps its moving ones once for all, as the suite's
             own networks do (keras-cv: each replica its own), with a momentum of 0.9 (keras-cv: up to 0.999); no
             dropout and no stochastic depth, whose draws would not be those of the run's seed after a restart; images
             come in [0, 1], so that nothing is divided by 255.
    """

    def __init__(self, name="resnet", sizes=None, weights="", channels=3):
        super().__init__()
        if name not in KINDS:
            raise ValueError(f"`name` is {name!r} but must be one of {', '.join(KINDS)}.")
        kind, usual = KINDS[name]
        kind = getattr(keras_cv.models, kind)
        self.channels = 3 if channels == 1 else channels
        with tf.variable_creator_scope(_once_for_all):
            if weights.startswith(PRESET):
                if sizes or self.channels != 3:
                    raise ValueError(f"`weights` is {weights!r}, which has sizes of its own and takes images of 1 or 3 "
                                     "channels; leave out `sizes`, or `weights` for other images.")
                net = _preset(kind, name, weights[len(PRESET):])
            else:
                net = _drawn(kind, name, usual, sizes or {}, self.channels)
        for layer in net._flatten_layers():
            if isinstance(layer, tf.keras.layers.BatchNormalization):
                layer.synchronized, layer.fused = True, False
                layer.momentum = min(layer.momentum, MOMENTUM)
            elif isinstance(layer, tf.keras.layers.Dropout):
                layer.rate = 0.0
        if weights and not weights.startswith(PRESET):
            _load(net, weights)
        levels = list(net.pyramid_level_inputs.values())
        if len(levels) < 3:
            raise ValueError(f"`sizes` of {name} make {len(levels)} pyramid levels but must make at least 3; add "
                             "stages.")
        self.net = tf.keras.Model(net.inputs, [*(net.get_layer(level).output for level in levels[-3:-1]), net.output])

    def call(self, images, training=False):
        if images.shape[-1] == 1:
            images = tf.repeat(images, self.channels, axis=-1)
        return dict(zip(("map3", "map4", "map5"), self.net(images, training=training)))


def _once_for_all(make, **words):
    """Moving statistics, equal on all replicas, as one mirrored variable: reading it is no collective and exact."""
    if words.get("synchronization") == tf.VariableSynchronization.ON_READ:
        words.update(synchronization=tf.VariableSynchronization.AUTO,
                     aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
    return make(**words)


def _drawn(kind, name, usual, given, channels):
    sizes = {**usual, **given}
    known = [word for word in inspect.signature(kind.__init__).parameters if word not in OURS]
    unknown = sorted(set(sizes) - set(known))
    if unknown:
        raise ValueError(f"`sizes` has {', '.join(unknown)} but {name} takes {', '.join(known)}.")
    lengths = {word: len(values) for word, values in sizes.items() if isinstance(values, (tuple, list))}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{count} {word}" for word, count in lengths.items())
        raise ValueError(f"`sizes` of {name} are for different numbers of stages ({told}); give all of them.")
    try:
        return kind(include_rescaling=False, input_shape=(None, None, channels), **sizes)
    except (TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise ValueError(f"`sizes` of {name} are {given} but make no network ({_first_line(error)}); the usual ones "
                         f"are {usual}.") from error


def _preset(kind, name, preset):
    known = sorted(kind.presets_with_weights)
    if preset not in known:
        raise ValueError(f"`weights` is {PRESET + preset!r} but the presets of {name} are {', '.join(known)}.")
    try:
        return kind.from_preset(preset, load_weights=True, include_rescaling=False)
    except OSError as error:            # such as those of `requests`
        raise ValueError(f"the preset {preset!r} cannot be fetched ({type(error).__name__}); save its weights by "
                         f"`keras_cv.models.{kind.__name__}.from_preset(\"{preset}\").save_weights(\"FILE.h5\")` on a "
                         "machine that is online, and give weights='FILE.h5' with its sizes.") from error


def _load(net, path):
    if not os.path.isfile(path):
        raise FileNotFoundError(f"`weights` is {path} but there is no such file; write it by `save_weights`, or use "
                                f"\"{PRESET}NAME\".")
    sizes, wanted = [], sum(weight.shape.num_elements() for weight in net.weights)
    try:
        with h5py.File(path) as file:
            file.visititems(lambda _, item: sizes.append(item.size) if isinstance(item, h5py.Dataset) else None)
        if sum(sizes) != wanted:        # of some files Keras reads what it finds a place for
            raise ValueError(f"{sum(sizes)} values instead of {wanted}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")         # keras-cv reads attributes that Keras means to remove
            net.load_weights(path)
    except (ValueError, LookupError) as error:
        raise ValueError(f"`weights` is {path} but its weights are not of these sizes ({_first_line(error)}); give the "
                         "`sizes` it was written with.") from error
    except OSError as error:
        raise OSError(f"`weights` is {path} but it cannot be read as HDF5 ({_first_line(error)}); write it again, "
                      "with a name that ends in .h5.") from error


def _first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0]
