"""NT-Xent, the loss of SimCLR: a view finds the other views of its image among all of the global batch."""

import math

import tensorflow as tf

from keras_apps import geometry, pairs


class NtXentLoss:
    """Normalised temperature-scaled cross-entropy: two views of an image are near, those of different images apart.

    value_i = mean over its views v and u, v != u, of  - log( exp(s(iv, iu) / T) / sum_kw exp(s(iv, kw) / T) )
    s is the cosine; kw runs over all views of all images of the global batch but iv itself.

    Args:    temperature: T > 0; small = the nearest others count most.
    Call:    views [b, V, D], V >= 2, any length (normalised here); labels play no part and may be None.
    Returns: [b], >= 0, computed in float32 (float64 for float64); 2 views of a single image: exactly 0.
             Memory O(b B V^2).
    Raises:  ValueError for a temperature that is not above 0 and, when called, for other than V >= 2 views.
    Source:  Chen et al., SimCLR, ICML 2020, arXiv:2002.05709, eq. 1.
    Differs: more than two views: each is drawn to all others of its image, which stand among the sum, too.
    """

    def __init__(self, temperature=0.5):
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"`temperature` is {temperature} but must be a finite number above 0; use 0.5.")
        self.temperature = float(temperature)

    def __call__(self, views, labels=None):
        views = geometry.wide(views)
        if views.shape.rank != 3 or views.shape[1] is None or views.shape[1] < 2:
            raise ValueError(f"`views` has shape {views.shape} but must be [b, V, D] with at least 2 views an image; "
                             "give each image another view.")
        count = views.shape[1]
        anchors = geometry.unit(tf.reshape(views, [-1, views.shape[2]]))
        rows = tf.range(tf.shape(anchors)[0])
        everyone, _, offset = pairs.across(anchors, rows)
        columns, own = tf.range(tf.shape(everyone)[0]), offset + rows
        itself = own[:, None] == columns[None]
        positive = (own // count)[:, None] == (columns // count)[None]

        near = geometry.cosines(anchors, everyone) / self.temperature
        zero = tf.zeros_like(near)
        pull = tf.reduce_sum(tf.where(positive & ~itself, near, zero), axis=1) / (count - 1)
        values = tf.reduce_logsumexp(tf.where(~itself, near, near.dtype.min), axis=1) - pull
        return tf.reduce_mean(tf.reshape(values, [-1, count]), axis=1)
