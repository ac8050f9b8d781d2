"""Turned images as classes of their own."""

import tensorflow as tf


class TurnedClassesMixing:
    """Turned and mirrored images are classes of their own.

    Each label draws its own turn r (multiples of 90 degrees, then the mirrored ones); class k becomes times k + r. All
    images of one label in a batch are turned alike, so that a P x K batch stays P x K. For signs that change their
    meaning when turned (characters), this makes `turns` times as many identities. -1 stays -1.

    Args:    turns: 1 (none), 2 (half turns) or 4 (quarter turns).
             mirror: mirrored images are classes of their own as well, twice as many.
    Call:    batch with image [b,H,W,C] (4 turns: H = W) and label [b], seed [2] int32.
    Returns: the batch with image and label replaced; `times` says by how much the number of classes grows.
    Raises:  ValueError for turns other than 1, 2 or 4, neither turns nor mirror, or 4 turns of images not square.
    Source:  Vinyals et al., NeurIPS 2016, arXiv:1606.04080, section 4.1 (rotated character classes).
    """

    def __init__(self, turns=4, mirror=False):
        if turns not in (1, 2, 4) or turns == 1 and not mirror:
            raise ValueError(f"turned_classes(turns={turns}, mirror={mirror}) needs turns 2 or 4, or 1 with mirror.")
        self.turns, self.mirror, self.times = turns, mirror, turns * (2 if mirror else 1)

    def __call__(self, batch, seed):
        images, labels = batch["image"], batch["label"]
        if self.turns == 4 and images.shape[1] != images.shape[2]:
            raise ValueError(f"turned_classes(turns=4) got images of {images.shape[1]} x {images.shape[2]} pixels but "
                             "quarter turns need them square; use turns=2, or one number as `size`.")
        # One draw a label, not an image: hash the label into the seed.
        draw = tf.map_fn(lambda label: tf.random.stateless_uniform(
            [], tf.random.experimental.stateless_fold_in(seed, label), 0, self.times, tf.int32),
            tf.cast(labels, tf.int32), fn_output_signature=tf.int32)
        turn, mirrored = draw % self.turns, draw >= self.turns
        choose = (slice(None), None, None, None)
        images = tf.where(mirrored[choose], tf.reverse(images, [2]), images)
        step = 4 // self.turns
        turned = images
        for quarter in range(step, 4, step):
            turned = tf.where((turn * step == quarter)[choose], tf.image.rot90(images, quarter), turned)
        grown = labels * self.times + tf.cast(draw, labels.dtype)
        return {**batch, "image": turned, "label": tf.where(labels < 0, labels, grown)}
