"""Images between images: a generator learns one vector for each of a few labelled images, and draws between them."""

import numpy as np
import tensorflow as tf

from keras_apps.generators.dcgan import DcganGenerator

SHARES = 0.1, 0.2, 0.3, 0.4     # of the way from one image to the other
LEVELS = 3                      # of the Laplacian pyramid
fold = tf.random.experimental.stateless_fold_in


class LatentImages(tf.Module):
    """GLICO: generative latent optimisation of the labelled training images, and interpolation within a class.

    reconstruction_i = |G - x_i|_1 + sum_l 2^l |L_l(G) - L_l(x_i)|_1,  G = G(z_i, c),  c ~ N(0, noise^2)
    between_i        = G(slerp(z_i, z_j, t), c),  j of the class of i,  t in {0.1, 0.2, 0.3, 0.4}
    slerp(a, b, t)   = (sin((1 - t) w) a + sin(t w) b) / sin w,  cos w = a . b;  straight where w is about 0

    z lies on the unit sphere; |.|_1 are means; L_l are the levels of a Laplacian pyramid.

    Args:    rows: [n] of the data, that have a vector.  labels: [n] int.  count: N rows in all.
             shape: (H, W, C), even sides of 8 pixels or more.  dimension: of z.  noise: deviation of c, of as many
             numbers as z has a quarter.  width: of the generator.  seed: of the first vectors.
    Raises:  ValueError for a size that the generator cannot double to.
    Source:  Azuri, Weinshall, ICPR 2020, arXiv:2011.14418 (GLICO); Bojanowski et al., ICML 2018, arXiv:1707.05776.
    Differs: a Laplacian pyramid in place of features of a trained VGG, as in Bojanowski's; no classifier's loss on the
             reconstruction; vectors return to the sphere after each step, not after each epoch.
    """

    def __init__(self, rows, labels, count, shape, dimension=64, noise=0.15, width=16, seed=0):
        super().__init__()
        places = np.full(count, 0, np.int32)
        places[rows] = np.arange(len(rows))
        first = np.random.default_rng([seed, 24]).normal(size=[len(rows), dimension]).astype(np.float32)
        self.vectors = tf.Variable(first / np.linalg.norm(first, axis=1, keepdims=True))
        self.noise, self.extra = noise, max(1, dimension // 4)
        self.generator = DcganGenerator(dimension + self.extra, shape[:2], shape[2], width)
        self._places = tf.constant(places)
        # The rows of each class one after the other: who may be the partner of whom.
        order = np.argsort(labels, kind="stable")
        starts = np.searchsorted(labels[order], labels, "left")
        self._order, self._starts = tf.constant(order, tf.int32), tf.constant(starts, tf.int32)
        self._counts = tf.constant(np.bincount(labels)[labels], tf.int32)

    @property
    def trainable(self):
        return [self.vectors, *self.generator.trainable_variables]

    def loss(self, images, index, seed):
        """[b] of training images and their rows."""
        vectors = tf.gather(self.vectors, tf.gather(self._places, index))
        made = self._made(vectors, seed, True)
        found = tf.reduce_mean(tf.abs(made - images), axis=(1, 2, 3))
        for level, (own, wanted) in enumerate(zip(_pyramid(made), _pyramid(images))):
            found += 2.0 ** level * tf.reduce_mean(tf.abs(own - wanted), axis=(1, 2, 3))
        return found

    def return_to_sphere(self):
        self.vectors.assign(tf.math.l2_normalize(self.vectors, axis=1))

    def between(self, index, seed):
        """An image between each image and another of its class: [b,H,W,C], without a gradient."""
        places = tf.gather(self._places, index)
        draws = tf.random.stateless_uniform([2, tf.shape(places)[0]], fold(seed, 0))
        counts = tf.gather(self._counts, places)
        other = tf.minimum(tf.cast(draws[0] * tf.cast(counts, tf.float32), tf.int32), counts - 1)
        partners = tf.gather(self._order, tf.gather(self._starts, places) + other)
        shares = tf.gather(tf.constant(SHARES), tf.cast(draws[1] * len(SHARES), tf.int32) % len(SHARES))
        vectors = slerp(tf.gather(self.vectors, places), tf.gather(self.vectors, partners), shares[:, None])
        return tf.stop_gradient(self._made(vectors, fold(seed, 1), False))

    def _made(self, vectors, seed, training):
        noise = self.noise * tf.random.stateless_normal([tf.shape(vectors)[0], self.extra], seed)
        return self.generator(tf.concat([vectors, noise], axis=1), training=training)


def slerp(first, second, share):
    """Along the great circle from unit vectors [n,D] to others, by a share [n,1] of the way."""
    cosine = tf.clip_by_value(tf.reduce_sum(first * second, axis=1, keepdims=True), -1.0, 1.0)
    straight = tf.abs(cosine) > 1 - 1e-6
    angle = tf.acos(tf.where(straight, 0.0, cosine))
    round = (tf.sin((1 - share) * angle) * first + tf.sin(share * angle) * second) / tf.sin(angle)
    return tf.where(straight, (1 - share) * first + share * second, round)


def _pyramid(images):
    """Details from fine to coarse, then what is left."""
    found = []
    for _ in range(LEVELS - 1):
        if min(images.shape[1:3]) < 4:
            break
        small = tf.nn.avg_pool2d(images, 2, 2, "SAME")
        found.append(images - tf.image.resize(small, images.shape[1:3]))
        images = small
    return [*found, images]
