"""Part-aware matching: a probe that shows a part is compared with the same part of every gallery image."""

import math
import re

import tensorflow as tf

from keras_apps import geometry

_EDGES = {"upper": (0, 0, 1, 0), "lower": (1, 0, 0, 0), "left": (0, 0, 0, 1), "right": (0, 1, 0, 0)}


class PartAwareMatcher(tf.Module):
    """Part-aware matcher: crops of fixed shares in training, and a gallery cropped to what the probe shows.

    score = cos(e(probe), e(crop_t(image))) / sqrt(T),   t = argmax softmax(W_t x(probe))
    kind_i = cross-entropy of softmax(W_t x_i) and the crop drawn for image i

    As one product of vectors of length one:  asked = onehot(t) (x) e,  offered = [e(crop_1), ..., e(crop_T)] / sqrt(T),
    with x the network's embedding, e the same at length one and (x) the outer product. In training every image is
    brought to one of the T crops, drawn evenly; a crop is stretched to the image's size.

    Args:    dimension: D of x.  seed: int, fixes the first weights.  (The caller's facts.)
             parts: T >= 2 names, "full" or an edge and the percentage kept: "upper75", "lower50", "left50", ...
             kind: weight of the term.
    Call:    .prepare(images, kinds, seed) -> crops [b,H,W,C], which [b];  .losses(embedding, labels, kinds) ->
             {"kind"};  .asked, .offered(images, look) -> [n, T D'], with look(images) -> (x [n,D], e [n,D']);  offering
             costs T passes of the network;  .kind(x) -> [n,T];  .crop(images, kinds) -> [n,H,W,C].
    Raises:  ValueError for fewer than 2 parts, a part twice, one that is not known, or a negative weight.
    Source:  inspired by partial Re-ID with crop types (known from an abstract).
    Differs: its attention is the neck `bam`, to be named in the config.
    """

    column = ""         # the kinds are made by `prepare` and `crop`, not read
    across = False

    def __init__(self, dimension, seed=0, parts=("full", "upper75", "upper50", "lower50", "left50", "right50"),
                 kind=1.0):
        super().__init__()
        if len(parts) < 2 or len(set(parts)) < len(parts) or not (math.isfinite(kind) and kind >= 0):
            raise ValueError(f"part_aware(parts={parts}, kind={kind}) needs 2 parts or more, each once, and a finite "
                             "weight of at least 0.")
        self.boxes = [_box(part) for part in parts]
        self.weights = {"kind": float(kind)}
        self.kinds = tf.Variable(0.1 * tf.random.stateless_normal([dimension, len(parts)], [seed, 0])
                                 / dimension ** 0.5, name="matcher_kinds")

    def prepare(self, images, kinds, seed):
        drawn = tf.random.stateless_uniform(tf.shape(images)[:1], seed, 0, len(self.boxes), tf.int32)
        return self.crop(images, drawn), drawn

    def crop(self, images, kinds):
        """Image i brought to its part kinds[i]: pixel centres of the part spread over the whole, linearly."""
        height, width = images.shape[1:3]
        top, left, bottom, right = tf.unstack(tf.gather(tf.constant(self.boxes, tf.float32), kinds), axis=1)

        def ends(first, last, length):
            # The places of the crop's first and last pixel, as shares of the padded side from centre to centre.
            half = (last - first) / 2
            return [(place + 0.5) / (length + 1) for place in (first * length + half, last * length - half)]
        (top, bottom), (left, right) = ends(top, bottom, height), ends(left, right, width)
        # A pixel of padding: the outermost places lie up to half a pixel outside.
        padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
        cropped = tf.image.crop_and_resize(padded, tf.stack([top, left, bottom, right], axis=1),
                                           tf.range(tf.shape(images)[0]), [height, width])
        return tf.cast(cropped, images.dtype)

    def losses(self, embedding, labels, kinds):
        return {"kind": tf.nn.sparse_softmax_cross_entropy_with_logits(kinds, self._logits(geometry.wide(embedding)))}

    def _logits(self, embedding):
        return tf.matmul(embedding, tf.cast(self.kinds, embedding.dtype))

    def kind(self, embedding):
        return tf.nn.softmax(self._logits(geometry.wide(embedding)))

    def asked(self, images, look):
        embedding, unit = look(images)
        shown = tf.one_hot(tf.argmax(self.kind(embedding), axis=1), len(self.boxes), dtype=unit.dtype)
        return tf.reshape(shown[:, :, None] * unit[:, None], [-1, len(self.boxes) * unit.shape[1]])

    def offered(self, images, look):
        count = tf.shape(images)[0]
        parts = [look(self.crop(images, tf.fill([count], number)))[1] for number in range(len(self.boxes))]
        return tf.concat(parts, axis=1) / len(parts) ** 0.5


def _box(part):
    """top, left, bottom, right as shares."""
    if part == "full":
        return 0.0, 0.0, 1.0, 1.0
    match = re.fullmatch(r"(upper|lower|left|right)([1-9]\d?)", part)
    if not match:
        raise ValueError(f"`parts` has {part!r} but knows \"full\" and upper, lower, left or right with a percentage "
                         "from 1 to 99; write upper50.")
    cut = 1 - int(match[2]) / 100
    top, left, bottom, right = (edge * cut for edge in _EDGES[match[1]])
    return top, left, 1 - bottom, 1 - right
