"""A member of an ensemble: an encoder, a head on its codes, and beside them a probe on what the encoder knew before."""

import numpy as np
import tensorflow as tf

from keras_apps import probe
from keras_apps.app import BLOCK
from keras_apps.build import build, parse
from keras_apps.coarse import coarse_groups, joint
from keras_apps.embedding import EmbeddingNetwork
from keras_apps.layers.batch_norm import BatchNormLayer
from keras_apps.layers.guided_maxout import GuidedMaxoutLayer

layers = tf.keras.layers
HIDDEN, PROJECTED = 128, 64     # units and numbers of the projection that views are compared by
COARSE_WIDTH = 32               # channels of a head of groups
GRID = 2                        # places a side that a probe sees of a map
PLAIN = "linear", "final_bn"    # heads whose logits any loss of losses/classify may stand on
LEVELS = "map4", "map3"         # that heads of groups stand on, in this order


class Member(tf.Module):
    """One network of an ensemble with all that is trained with it.

    network: image -> maps -> code (an `EmbeddingNetwork`);  head: code -> logits;  projector: pooled map5 -> vector for
    views;  coarse: heads of groups of classes on map4 and map3, trained once the groups are known;  frozen: a second
    backbone that keeps what the first knew when the probe was fitted on it.

    Args:    config: of `small_sample_diagnosis`.  shape: (H, W, C).  names: of the K classes.
             counts: training images a class.  seed: of the head's first weights.
    Raises:  ValueError for a loss of losses/classify with a head that has a loss of its own, or too many groups.
    """

    def __init__(self, config, shape, names, counts, seed):
        super().__init__()
        self.config, self.classes = config, len(names)
        self.network = EmbeddingNetwork(config.backbone, config.pooling, config.embedding, shape, config.dropout,
                                        config.norm, config.neck)
        self.head = build("heads", config.head, classes=self.classes, dimension=self.network.dimension, seed=seed,
                          names=names, counts=counts)
        self.loss = config.classify and build("losses/classify", config.classify, classes=self.classes, counts=counts)
        if config.classify and parse(config.head)[0] not in PLAIN:
            raise ValueError(f"`classify` is {config.classify!r} but the head {config.head!r} has a loss of its own; "
                             "use head=\"linear()\" or \"final_bn()\", or classify=\"\".")
        self.maxout = GuidedMaxoutLayer() if config.maxout else None
        if self.maxout is not None:
            self.maxout.build([None, self.network.dimension])
        images = tf.zeros([1, *shape])
        maps = self.network.backbone(images)
        self.projector = None
        if config.view_share:
            self.projector = tf.keras.Sequential([layers.Dense(HIDDEN, use_bias=False), BatchNormLayer(),
                                                  layers.ReLU(), layers.Dense(PROJECTED)])
            self.projector(tf.reduce_mean(maps["map5"], axis=(1, 2)))
        self.coarse = [_Coarse(groups, self.classes, maps[level]) for groups, level in
                       zip(config.coarse, LEVELS)]
        self.frozen = None
        if config.probe:
            self.frozen = build("backbones", config.backbone, channels=shape[2], size=tuple(shape[:2]))
            self.probe_weights = tf.Variable(tf.zeros([self.features(images).shape[1], self.classes]), trainable=False)
            self.probe_bias = tf.Variable(tf.zeros([self.classes]), trainable=False)
            self.probed = tf.Variable(False, trainable=False)

    # ---- training

    def projected(self, views):
        """Vectors [b,V,D] of views [b,V,h,w,C]."""
        count = views.shape[1]
        maps = self.network.backbone(tf.reshape(views, [-1, *views.shape[2:]]), training=True)
        vectors = self.projector(tf.reduce_mean(maps["map5"], axis=(1, 2)), training=True)
        return tf.reshape(vectors, [-1, count, vectors.shape[1]])

    def codes(self, images, training, seed):
        """maps and codes [b,D] of images; `training` of the encoder."""
        maps = self.network.backbone(images, training=training)
        return maps, self.network.of_maps(maps, training, seed)[1]

    def classified(self, codes, labels, step):
        """What the head asks of codes: [b]."""
        if self.maxout is not None:
            true = tf.gather(tf.nn.softmax(self.head.logits(codes)), tf.maximum(labels, 0), batch_dims=1)
            codes = self.maxout(codes, true, training=True)
        if self.loss:
            return self.loss(self.head.logits(codes, training=True), labels)
        return self.head.loss(codes, labels, step)

    def grouped(self, maps, labels):
        """What the heads of groups ask of maps: [[b]], in the order of `config.coarse`."""
        return [part.loss(maps[level], labels) for part, level in zip(self.coarse, LEVELS)]

    @property
    def encoder(self):
        """The variables below the head."""
        return list(self.network.trainable_variables)

    @property
    def answering(self):
        """The variables of head, maxout and heads of groups."""
        parts = [self.head, *([self.maxout] if self.maxout is not None else []), *self.coarse]
        return [variable for part in parts for variable in part.trainable_variables]

    # ---- answers

    def logs(self, images):
        """Log probabilities [n,K] of the head, with the heads of groups where there are some."""
        maps = self.network.backbone(images)
        return self.logs_of_maps(maps)

    def logs_of_maps(self, maps):
        fine = tf.nn.log_softmax(tf.cast(self.head.logits(self.network.of_maps(maps)[1]), tf.float32))
        if not self.coarse:
            return fine
        coarse = [(part.logs(maps[level]), part.groups) for part, level in zip(self.coarse, LEVELS)]
        return joint(fine, coarse, self.config.coarse_exponent)

    def probe_logs(self, images):
        """Log probabilities [n,K] of the probe."""
        return tf.nn.log_softmax(self.features(images) @ self.probe_weights + self.probe_bias)

    def features(self, images):
        """What the probe sees: means of the frozen encoder's map4 and map5, whole and of GRID x GRID places: [n,F]."""
        maps = self.frozen(images)
        return tf.concat([part for level in ("map4", "map5") for part in _places(maps[level])], axis=1)

    def fit_probe(self, images, labels, units, seed):
        """Freezes a copy of the encoder as it is and fits the probe on it.

        Args:    images: [n,H,W,C] labelled ones.  labels: int [n].  units: int [n] (patients).
        """
        for kept, now in zip(self.frozen.variables, self.network.backbone.variables):
            kept.assign(now)
        weights, bias, _ = probe.fit(in_blocks(self.features, images), labels, self.classes, units, seed)
        self.probe_weights.assign(weights)
        self.probe_bias.assign(bias)


class _Coarse(tf.Module):
    """A head of groups of classes on a map: norm, ReLU, 3x3 convolution, norm, ReLU, mean, linear.

    The groups are those of `coarse_groups`, held as a variable; before they are known all classes are in group 0.
    """

    def __init__(self, groups, classes, map):
        super().__init__()
        if not 2 <= groups < classes:
            raise ValueError(f"`coarse` has {groups} groups but of {classes} classes must be from 2 to {classes - 1}; "
                             "leave it out (coarse=()) where there are two.")
        self.count = groups
        self.groups = tf.Variable(tf.zeros([classes], tf.int32), trainable=False)
        self.net = tf.keras.Sequential([
            BatchNormLayer(), layers.ReLU(),
            layers.Conv2D(COARSE_WIDTH, 3, padding="same", use_bias=False, kernel_initializer="he_normal"),
            BatchNormLayer(), layers.ReLU(), layers.GlobalAveragePooling2D(), layers.Dense(groups)])
        self.net(map)

    def find(self, confusion):
        self.groups.assign(coarse_groups(confusion, self.count))

    def logs(self, map):
        return tf.nn.log_softmax(tf.cast(self.net(map), tf.float32))

    def loss(self, map, labels):
        values = tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.gather(self.groups, tf.maximum(labels, 0)), tf.cast(self.net(map, training=True), tf.float32))
        return tf.where(labels >= 0, values, 0.0)


def _places(map):
    """Its mean, and the means of GRID x GRID parts of it, as vectors [n,F]."""
    map = tf.cast(map, tf.float32)
    height, width = map.shape[1:3]
    found = [tf.reduce_mean(map, axis=(1, 2))]
    if min(height, width) >= GRID:
        rows, columns = ([(i * side // GRID, -(-(i + 1) * side // GRID)) for i in range(GRID)] for side in
                         (height, width))
        found += [tf.reduce_mean(map[:, top:bottom, left:right], axis=(1, 2))
                  for top, bottom in rows for left, right in columns]
    return found


def in_blocks(function, images):
    """A function of images [n,H,W,C] -> [n,..] of many images, block by block, as an array."""
    compute = tf.function(function, autograph=False)
    return np.concatenate([compute(images[i:i + BLOCK]).numpy() for i in range(0, len(images), BLOCK)])


def mean_of(parts):
    """{"logs": log of the mean probability [n,K], "disagreement": [n]} of log probabilities [P,n,K]."""
    parts = tf.convert_to_tensor(parts)
    logs = tf.reduce_logsumexp(parts, axis=0) - np.log(parts.shape[0])
    whole = -tf.reduce_sum(tf.exp(logs) * logs, axis=1)
    own = tf.reduce_mean(-tf.reduce_sum(tf.exp(parts) * parts, axis=2), axis=0)
    return {"logs": logs, "disagreement": tf.clip_by_value((whole - own) / np.log(parts.shape[2]), 0.0, 1.0)}
