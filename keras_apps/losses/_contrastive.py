"""What the contrastive losses of a batch and of listed pairs have in common."""

import math

import tensorflow as tf

from keras_apps import geometry


def check(margin, distance, normalise, negatives):
    """Refuses settings out of range; for constructors."""
    geometry.check_distance(distance, ("cosine", "euclidean"), normalise)
    if not (math.isfinite(margin) and margin > 0):
        raise ValueError(f"`margin` is {margin} but must be a finite number above 0; use 0.5.")
    if distance == "cosine" and margin > 2:
        raise ValueError(f"`margin` is {margin} but a cosine distance never exceeds 2; use 0.5.")
    if not (math.isfinite(negatives) and negatives >= 0):
        raise ValueError(f"`negatives` is {negatives} but must be a finite number of at least 0; use 1.0.")


def listed(first, second, same):
    """Listed pairs as float32 or wider [b, D], [b, D] and their truths [b].   Raises: ValueError for other shapes."""
    first, second, same = geometry.wide(first), geometry.wide(second), tf.convert_to_tensor(same)
    # One column of truths would broadcast to all pairs of the batch.
    if first.shape.rank != 2 or not (first.shape.is_compatible_with(second.shape)
                                     and first.shape[:1].is_compatible_with(same.shape)):
        raise ValueError(f"`first` has shape {first.shape}, `second` {second.shape} and `same` {same.shape} but "
                         "they must be [b, D], [b, D] and [b]; give each pair one truth.")
    return first, second, same


def pull_and_push(distances, margin, squared):
    """What a distance costs in a pair of one class, and in a pair of two.

    squared: d^2 / 2 and [m - d]+^2 / 2;  not squared: d and [m - d]+
    """
    pull, push = distances, tf.nn.relu(margin - distances)
    return (tf.square(pull) / 2, tf.square(push) / 2) if squared else (pull, push)
