"""CTAugment: operations whose strengths are learned."""

import numpy as np
import tensorflow as tf

from tfrecords.augment._operations import OPERATIONS, SIGNED, applied
from tfrecords.augment._warp import check_fill


class CtAugmentAugment:
    """Each image passes through its own random operations; how strong they may be follows from what the model bears.

    The range of each operation is cut into bins, each with a weight w, 1 at first. An operation is drawn uniformly,
    one of its bins with probability ~ w where w >= threshold max(w), else 0, and a strength uniformly inside the bin.
    Apart from that, labelled images are probed: `call_with_choices(..., probe=True)` draws all bins alike, the model
    is asked, and `updated` moves the weights of the bins that were met:

    w <- decay w + (1 - decay) (1 - error),   error = 1/2 sum_k |p_k - y_k| of the image, in [0, 1]

    The weights belong to the caller, as an array [14, bins] that is passed in; nothing is kept here, so that the same
    seed and the same weights give the same pixels. Without weights all bins are alike.

    Args:    operations: one after the other, >= 1.  bins: of each operation's range (as in rand_augment; signed ones
             from -1 to 1), >= 1.  threshold: in [0, 1].  decay: in [0, 1].
             fill: "reflect" | "nearest" | "zero" outside a warped image.
    Call:    images [b,H,W,C] in [0, 1], seed [2] int32, strength in [0, 1] scales the levels and the share of the
             images that each operation reaches.
    Returns: [b,H,W,C] in [0, 1]; the input at strength 0.
    Raises:  ValueError for operations or bins < 1, a threshold or decay outside [0, 1] or an unknown fill.
    Source:  inspired by Berthelot et al., ICLR 2020, arXiv:1911.09785, section 3.2.2.
    Differs: the error is not divided by the number of classes; the operations are those of rand_augment, each with one
             parameter, without cutout; the threshold is a share of the operation's largest weight, so that some bin is
             always left.
    """

    def __init__(self, operations=2, bins=17, threshold=0.8, decay=0.99, fill="zero"):
        if operations < 1 or bins < 1:
            raise ValueError(f"ct_augment(operations={operations}, bins={bins}) needs both >= 1.")
        if not 0 <= threshold <= 1 or not 0 <= decay <= 1:
            raise ValueError(f"ct_augment(threshold={threshold}, decay={decay}) needs both in [0, 1].")
        check_fill(fill)
        self.operations, self.bins, self.threshold, self.decay, self.fill = operations, bins, threshold, decay, fill

    def __call__(self, images, seed, strength=1.0):
        return self.call_with_choices(images, seed, strength)[0]

    def first(self):
        """The weights to begin with: ones [14, bins] float32."""
        return np.ones([len(OPERATIONS), self.bins], np.float32)

    def call_with_choices(self, images, seed, strength=1.0, weights=None, probe=False):
        """The images, and {"operation", "bin"}: what was drawn for each, [b, operations] int32.

        Args:    weights: [14, bins] float32, an array or a tensor; None = all alike.
                 probe: draw all bins alike, whatever the weights.
        """
        weights = tf.ones([len(OPERATIONS), self.bins]) if weights is None or probe else tf.cast(weights, tf.float32)
        weights = tf.where(weights >= self.threshold * tf.reduce_max(weights, axis=1, keepdims=True), weights, 0.0)
        edges = tf.cumsum(weights, axis=1)
        signed = tf.constant(SIGNED)
        draws = tf.random.stateless_uniform([tf.shape(images)[0], self.operations, 4], seed)
        choices, places = [], []
        for number in range(self.operations):
            reached, drawn, place, inside = tf.unstack(draws[:, number], axis=1)
            choice = tf.minimum(tf.cast(drawn * len(OPERATIONS), tf.int32), len(OPERATIONS) - 1)
            choice = tf.where(reached < strength, choice, 0)
            own = tf.gather(edges, choice)
            # The first bin whose upper edge lies above the draw; one of weight 0 never has it.
            bin_ = tf.argmax(tf.cast(own > place[:, None] * own[:, -1:], tf.int32), axis=1, output_type=tf.int32)
            level = (tf.cast(bin_, tf.float32) + inside) / self.bins
            level = tf.where(tf.gather(signed, choice), 2.0 * level - 1.0, level) * strength
            images = applied(images, choice, level, self.fill)
            choices.append(choice)
            places.append(bin_)
        return images, {"operation": tf.stack(choices, axis=1), "bin": tf.stack(places, axis=1)}

    def updated(self, weights, choices, errors):
        """New weights from those of `call_with_choices` and the images' errors [b], one after the other; NumPy."""
        weights = np.array(weights, np.float32)
        for operation, place, error in zip(np.asarray(choices["operation"]), np.asarray(choices["bin"]),
                                           np.asarray(errors)):
            for where in zip(operation, place):
                weights[where] = self.decay * weights[where] + (1.0 - self.decay) * (1.0 - error)
        return weights
