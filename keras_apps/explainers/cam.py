"""Class-activation maps by gradients (Grad-CAM)."""

import tensorflow as tf

from keras_apps import geometry
from keras_apps.explainers import _evidence


class CamExplainer:
    """Grad-CAM: the map's channels, each weighted by how much it raises the logit of the class.

    evidence_hw = max(0, sum_d a_d map_hwd),  a_d = mean_{h,w} d logit_class / d map_hwd

    enlarged to the image with straight lines between the places. Where logits are linear in the map's mean,
    logit_k = sum_d w_kd mean_{h,w} map_hwd + b_k, a_d is w_kd / (h w) and this is CAM. It tells where the map is active
    for a class, as finely as the map's places are.

    Call:    map_of: images -> map [n, h, w, d].  logits_of: map -> [n, K].  images: [n, H, W, C].  classes: [n] int.
    Returns: [n, H, W] float32 in [0, 1], the largest place of an image 1; all 0 where no place speaks for the class.
    Cost:    one forward pass, one backward pass of `logits_of`.
    Source:  Selvaraju et al., ICCV 2017, arXiv:1610.02391, eqs. 1 and 2; CAM: Zhou et al., CVPR 2016,
             arXiv:1512.04150.
    """

    def __call__(self, map_of, logits_of, images, classes):
        images = geometry.wide(images)
        map = tf.convert_to_tensor(map_of(images))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(map)
            logits = _evidence.chosen(logits_of(map), classes)
        slopes = tape.gradient(logits, map, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        weights = tf.reduce_mean(geometry.wide(slopes), axis=[1, 2], keepdims=True)
        places = tf.nn.relu(tf.reduce_sum(weights * geometry.wide(map), axis=3, keepdims=True))
        return _evidence.shares(tf.image.resize(places, _evidence.size(images))[..., 0])
