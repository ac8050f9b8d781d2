"""The network of a fake detector: a code for pairs, and a classifier that says where."""

import tensorflow as tf

from keras_apps.build import build
from keras_apps.layers.batch_norm import BatchNormLayer
from keras_apps.layers.spectrum import SpectrumLayer

layers = tf.keras.layers
DOMAINS = "pixels", "spectrum", "both"


class DetectionNetwork(tf.keras.Model):
    """maps = backbone(images);   code = softmax(W neck(maps) + b), what pairs are compared by (at any length)

    classifier: scores_p = U conv3x3(swish(norm(map5)))_p + u at each place p;   logits = mean over the places

    The classifier branches from the last map, not from the code, and is convolutional up to the mean: the score of a
    place is its own, so that a map of the evidence costs nothing. With a margin head the embedding W neck(maps) + b is
    what it classifies, and the evidence at a place is the head's logits for that place's column of map5 alone.

    Args:    backbone, neck, pooling: method strings.  code: numbers of the code.
             shape: (H, W, C).  domain: "pixels" | "spectrum" (the image's frequencies, see layers/spectrum.py: then
             the places of maps and evidence are frequencies) | "both" (side by side as channels).
             head: method string of keras_apps/heads, "" = the convolutional classifier.  seed: of the run.
    Raises:  ValueError for a code below 2 or an unknown domain; for a head whose evidence has no places.
    Source:  inspired by DeepFD (arXiv:1809.08754; ICIP 2019, pp. 3212-3216).
    Differs: the published map of evidence is the convolution's before the last dense layer; here it is after it, so
             that it adds up to the score.
    """

    def __init__(self, backbone, neck, pooling, code, shape, domain="pixels", head="", seed=0):
        super().__init__()
        if code < 2:
            raise ValueError(f"`code` is {code} but must be at least 2; use 128.")
        if domain not in DOMAINS:
            raise ValueError(f"`domain` is {domain!r} but must be one of {', '.join(DOMAINS)}.")
        self.domain = domain
        self.spectrum = SpectrumLayer() if domain != "pixels" else None
        channels = shape[2] * (2 if domain == "both" else 1)
        self.backbone = build("backbones", backbone, channels=channels)
        self.neck = build("necks", neck, pooling=pooling)
        self.project = layers.Dense(code)
        self.head = build("heads", head, classes=2, dimension=code, seed=seed) if head else None
        if not head:
            self.norm = BatchNormLayer()
            self.convolution = layers.Conv2D(2, 3, padding="same", kernel_initializer="he_normal")
            self.last = layers.Dense(2)
        maps = self.maps(tf.zeros([1, *shape]))
        self.codes(maps)
        if head and not self._tells_places(maps):
            raise ValueError(f"`head` is {head!r} with neck {neck!r} and pooling {pooling!r} but then the evidence of "
                             "a place cannot be told; use neck=last() with pooling=average(), or head=\"\".")
        self.logits(maps)
        if head:
            self.evidence(maps)

    def maps(self, images, training=False):
        """{"map3", "map4", "map5"}, each [b,h,w,d]."""
        if self.domain == "spectrum":
            images = self.spectrum(images) / 4 + 0.5        # about [0, 1], as backbones expect
        elif self.domain == "both":
            images = tf.concat([images, self.spectrum(images) / 4 + 0.5], axis=-1)
        return self.backbone(images, training=training)

    def codes(self, maps, training=False):
        """[b,K]: positive, summing to 1."""
        return tf.nn.softmax(tf.cast(self.project(self.neck(maps, training=training)), tf.float32))

    def embeddings(self, maps, training=False):
        """What a margin head classifies: [b,K]."""
        return self.project(self.neck(maps, training=training))

    def logits(self, maps, training=False):
        """[b,2]: real, fake."""
        if self.head:
            return tf.cast(self.head.logits(self.embeddings(maps, training)), tf.float32)
        return tf.reduce_mean(self._places(maps, training), axis=(1, 2))

    def evidence(self, maps):
        """How fake each place looks: probabilities [b,h,w]."""
        if self.head:
            places = maps["map5"]
            flat = self.project(tf.reshape(places, [-1, places.shape[-1]]))
            scores = tf.reshape(tf.cast(self.head.logits(flat), tf.float32), [*tf.unstack(tf.shape(places)[:3]), 2])
        else:
            scores = self._places(maps, False)
        return tf.nn.softmax(scores)[..., 1]

    def _places(self, maps, training):
        x = tf.nn.swish(self.norm(maps["map5"], training=training))
        return tf.cast(self.last(self.convolution(x)), tf.float32)

    def _tells_places(self, maps):
        """Whether the neck is a mean of some kind over map5, of a single place that place's column."""
        place = {name: tf.random.stateless_uniform([1, 1, 1, one.shape[-1]], [0, 0]) for name, one in maps.items()}
        return self.neck(maps).shape[1] == maps["map5"].shape[-1] and bool(
            tf.reduce_all(tf.abs(tf.cast(self.neck(place), tf.float32)[0] - place["map5"][0, 0, 0]) < 0.01))

    @property
    def trunk(self):
        """What the pairs teach: backbone, neck and code."""
        return [*self.backbone.trainable_variables, *self.neck.trainable_variables,
                *self.project.trainable_variables]

    @property
    def classifier(self):
        """What only the second step teaches."""
        if self.head:
            return list(self.head.trainable_variables)
        return [v for layer in (self.norm, self.convolution, self.last) for v in layer.trainable_variables]
