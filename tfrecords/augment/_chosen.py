"""Work on some images of a batch only."""

import tensorflow as tf


def to_chosen(change, chosen, images, *values):
    """`change(images, *values)` for the chosen images; the others stay to the last bit and cost a copy.

    Args:    chosen: [b] bool; how many are chosen is known when it runs, which XLA cannot compile.
             images: [b,H,W,C].  values: each [b], what `change` needs to know of each image.
    """
    chosen = tf.cast(chosen, tf.int32)
    places, parts, *values = (tf.dynamic_partition(whole, chosen, 2) for whole in
                              (tf.range(tf.shape(images)[0]), images, *values))
    changed = change(parts[1], *(value[1] for value in values))
    return tf.ensure_shape(tf.dynamic_stitch(places, [parts[0], changed]), images.shape)
