"""What the classification losses have in common: a cost of every class, which the target picks or mixes."""

import math

import tensorflow as tf


def expected(costs, target):
    """The cost of the target: that of its label, or the sum by its shares.

    Args:    costs: [b, K] float32 or float64.  target: [b] int, below 0 = none, or [b, K] shares; zeros alone = none.
    Returns: [b]; exactly 0, with gradient 0, where there is none.
    Raises:  ValueError for shapes that do not fit and for labels that are no integers.
    """
    target = tf.convert_to_tensor(target)
    # A column of labels would broadcast to shares.
    fits = costs.shape.is_compatible_with(target.shape) or costs.shape[:1].is_compatible_with(target.shape)
    if target.shape.rank not in (1, 2) or not fits:
        raise ValueError(f"`logits` has shape {costs.shape} and `target` {target.shape} but they must be [b, K], and "
                         "[b] labels or [b, K] shares; give each image one target.")
    if target.shape.rank == 2:
        return tf.reduce_sum(costs * tf.cast(target, costs.dtype), axis=1)
    if not target.dtype.is_integer:
        raise ValueError(f"`target` holds one {target.dtype.name} an image but labels must be integers; cast them.")
    labels = tf.cast(target, tf.int64)      # not every kind can index
    own = tf.gather(costs, tf.maximum(labels, 0), batch_dims=1)
    return tf.where(labels >= 0, own, tf.zeros_like(own))


def checked(counts):
    """The counts as floats; refuses fewer than two and one that is not above 0. For constructors."""
    counts = [float(count) for count in counts]
    if len(counts) < 2:
        raise ValueError(f"`counts` is {counts} but must hold at least 2 classes; add images of another class.")
    for i, count in enumerate(counts):
        if not (math.isfinite(count) and count > 0):
            raise ValueError(f"`counts` of class {i} is {count:g} but must be above 0; add a training image of it or "
                             "leave the class out.")
    return counts


def check_classes(logits, counts):
    """Refuses logits of other classes than those counted."""
    if not logits.shape[1:].is_compatible_with([len(counts)]):
        raise ValueError(f"`logits` has shape {logits.shape} but `counts` holds {len(counts)} classes; give one count "
                         "a column.")
