"""Integrated gradients."""

import numbers

import tensorflow as tf

from keras_apps import geometry
from keras_apps.explainers import _evidence

ROUNDING = 1e-6     # of an image's mean; 16 bits have steps of 1.5e-5


class IntegratedGradientsExplainer:
    """Integrated gradients: the logit's slopes along the straight way from an empty image to the image.

    attribution_hwc = (x - x0)_hwc mean_s (d logit_class / d x_hwc)(x0 + s (x - x0)),  s = (i + 1/2) / steps
    evidence_hw     = max(0, mean over a box of blur x blur places of sum_c attribution_hwc)

    Attributions sum to logit(x) - logit(x0): exactly for logits that are linear or quadratic on that way, else the
    nearer the more steps. What equals x0 gets nothing, so choose an x0 that means "nothing there".

    Args:    steps: points of the midpoint rule, >= 1.
             baseline: x0, "mean" of the image (a colour), "black", or a number in [0, 1].
             blur: side of the box in pixels, odd, or 0 = off; slopes of single pixels are grainy.
    Call:    map_of: images -> map [n, h, w, d].  logits_of: map -> [n, K].  images: [n, H, W, C].  classes: [n] int.
    Returns: [n, H, W] float32 in [0, 1], the largest place of an image 1; all 0 where no place speaks for the class.
    Raises:  ValueError for steps below 1, another baseline, a blur that is negative or even.
    Cost:    steps forward and backward passes, one after another; memory as of one.
    Source:  Sundararajan, Taly, Yan, ICML 2017, arXiv:1703.01365, sections 3 and 5.   Differs: midpoints, not right
             ends, and the box.
    """

    def __init__(self, steps=16, baseline="mean", blur=0):
        if not isinstance(steps, numbers.Integral) or steps < 1:
            raise ValueError(f"`steps` is {steps} but must be a whole number of at least 1; use 16.")
        number = isinstance(baseline, numbers.Real) and not isinstance(baseline, bool) and 0 <= baseline <= 1
        if not number and baseline not in ("mean", "black"):
            raise ValueError(f"`baseline` is {baseline!r} but must be 'mean', 'black' or a number in [0, 1]; use "
                             "'mean'.")
        if not isinstance(blur, numbers.Integral) or blur < 0 or (blur and blur % 2 == 0):
            raise ValueError(f"`blur` is {blur} but must be 0 or an odd number of pixels, as a box of even side shifts "
                             "the map; use 5.")
        self.steps, self.baseline, self.blur = int(steps), baseline, int(blur)

    def __call__(self, map_of, logits_of, images, classes):
        places = tf.reduce_sum(self.attributions(map_of, logits_of, images, classes), axis=3, keepdims=True)
        if self.blur:
            places = tf.nn.avg_pool2d(places, self.blur, 1, "SAME")     # what lies outside does not count
        return _evidence.shares(places[..., 0])

    def attributions(self, map_of, logits_of, images, classes):
        """Signed [n, H, W, C], which sum to logit(x) - logit(x0)."""
        images = geometry.wide(images)
        way = images - self._baseline(images)
        start = images - way

        def add(step, total):
            points = start + (tf.cast(step, way.dtype) + 0.5) / self.steps * way
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(points)
                logits = _evidence.chosen(logits_of(map_of(points)), classes)
            slopes = tape.gradient(logits, points, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            return step + 1, tf.ensure_shape(total + slopes, images.shape)

        # A loop of the graph: unrolled, an exported model would hold the network once a step.
        _, total = tf.while_loop(lambda step, _: step < self.steps, add, (0, tf.zeros_like(images)),
                                 parallel_iterations=1)
        return way * total / self.steps

    def _baseline(self, images):
        if self.baseline != "mean":
            return tf.zeros_like(images) + (0.0 if self.baseline == "black" else float(self.baseline))
        mean = tf.reduce_mean(images, axis=[1, 2], keepdims=True)
        # An image of one colour is its own mean: the rounding error of the mean is nothing to explain.
        return tf.where(tf.abs(images - mean) < ROUNDING, images, mean)
