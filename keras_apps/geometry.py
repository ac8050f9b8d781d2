"""Lengths, directions and distances whose values and gradients stay finite at zero and at any size."""

import tensorflow as tf


def wide(values):
    """float16 and bfloat16 become float32, float64 stays; everything else becomes float32."""
    values = tf.convert_to_tensor(values)
    return values if values.dtype == tf.float64 else tf.cast(values, tf.float32)


def epsilon(dtype):
    """The rounding step of float32 or float64 at 1."""
    return 2.0**-52 if dtype == tf.float64 else 2.0**-23


def lengths(vectors):
    """Euclidean length |v| over the last axis; the gradient of a zero vector is exactly 0.

    Args:    vectors: [..., D] float32 or float64.
    Returns: [...].
    """
    # The largest entry is taken out before squaring: 1e30 and 1e-30 neither overflow nor vanish in float32.
    # It may be a constant to the gradient because the length is proportional to it.
    largest = tf.stop_gradient(tf.reduce_max(tf.abs(vectors), axis=-1, keepdims=True))
    scale = tf.where(largest > 0, largest, tf.ones_like(largest))
    squares = tf.reduce_sum(tf.square(vectors / scale), axis=-1)
    present = squares > 0
    roots = tf.sqrt(tf.where(present, squares, tf.ones_like(squares)))
    return tf.where(present, scale[..., 0] * roots, tf.zeros_like(roots))


def unit(vectors):
    """v / |v| over the last axis; a zero vector stays zero and its gradient finite.

    Args:    vectors: [..., D] float32 or float64.
    Returns: [..., D].
    """
    length = lengths(vectors)[..., None]
    return vectors / tf.where(length > 0, length, tf.ones_like(length))


@tf.custom_gradient
def take(vectors, rows):
    """tf.gather of rows whose gradient is a tensor.

    The gradient of tf.gather is an IndexedSlices, which that of an all_gather across replicas cannot take.

    Args:    vectors: [B, D].  rows: [n] int.
    Returns: [n, D].
    """
    def gradient(upstream):
        return tf.math.unsorted_segment_sum(upstream, rows, tf.shape(vectors)[0]), None

    return tf.gather(vectors, rows), gradient


def squared_distances(first, second):
    """|a_i - b_j|^2 for all pairs by one matrix product.

    The mean of `second` is taken off both sides first. Distances do not notice, but the product of
    embeddings that lie close together far from the origin would otherwise drown in rounding.

    Args:    first: [b, D].  second: [B, D].
    Returns: [b, B], >= 0.
    """
    squares, _ = _centred_squares(first, second)
    return tf.nn.relu(squares)


def euclidean_distances(first, second):
    """|a_i - b_j| for all pairs by one matrix product.

    A distance below the rounding error of the product is 0 with gradient 0: its direction is unknown, and
    1 / distance would blow the noise up.

    Args:    first: [b, D].  second: [B, D].
    Returns: [b, B], >= 0.
    """
    largest = tf.stop_gradient(tf.reduce_max(tf.abs(second)))
    scale = tf.where(largest > 0, largest, tf.ones_like(largest))
    squares, sizes = _centred_squares(first / scale, second / scale)
    certain = squares > 8 * epsilon(squares.dtype) * sizes
    roots = tf.sqrt(tf.where(certain, squares, tf.ones_like(squares)))
    return tf.where(certain, scale * roots, tf.zeros_like(roots))


def check_distance(distance, known, normalise):
    """Refuses a distance that is not among `known`, and the cosine of embeddings left at their length.

    For constructors; `distances` takes any of the three.
    """
    if distance not in known:
        raise ValueError(f"`distance` is {distance!r} but must be one of {', '.join(known)}.")
    if distance == "cosine" and not normalise:
        raise ValueError(
            "`normalise` is False but the cosine compares directions only; leave it True or use "
            "distance='euclidean'."
        )


def distances(first, second, distance):
    """All pairs at a distance by name.

    Args:    first: [b, D].  second: [B, D], both of length one for the cosine.
             distance: "euclidean" |a - b|, "squared" |a - b|^2 or "cosine" 1 - cos.
    Returns: [b, B], >= 0.
    """
    if distance == "cosine":
        return tf.nn.relu(1 - cosines(first, second))  # rounding: cos > 1
    return squared_distances(first, second) if distance == "squared" else euclidean_distances(first, second)


def row_distances(first, second, distance):
    """The distance of each row to its partner, by name.

    From differences: rows that nearly agree keep their digits, and equal rows have distance 0 with gradient exactly 0.
    A Euclidean distance within the rounding of its rows is 0 with gradient 0, as in `euclidean_distances`.

    Args:    first, second: [b, D], both of length one (or zero) for the cosine.
             distance: "euclidean" |a - b|, "squared" |a - b|^2 or "cosine" 1 - cos, 1 for a zero row.
    Returns: [b], >= 0.
    """
    change = first - second
    if distance == "euclidean":
        sizes = tf.reduce_max(tf.maximum(tf.abs(first), tf.abs(second)), axis=1, keepdims=True)
        certain = tf.reduce_max(tf.abs(change), axis=1, keepdims=True) > 8 * epsilon(change.dtype) * sizes
        return lengths(tf.where(certain, change, tf.zeros_like(change)))
    squares = tf.reduce_sum(tf.square(change), axis=1)
    if distance == "squared":
        return squares
    # |a - b|^2 = |a|^2 + |b|^2 - 2 a . b, where a zero row lacks its 1.
    missing = sum(tf.cast(tf.reduce_all(rows == 0, axis=1), squares.dtype) for rows in (first, second))
    return (squares + missing) / 2


def cosines(first, second):
    """a_i . b_j for all pairs of unit vectors.

    Args:    first: [b, D].  second: [B, D], both of length one.
    Returns: [b, B].
    """
    return tf.matmul(first, second, transpose_b=True)


def _centred_squares(first, second):
    """|a - b|^2 (rounding may leave it just below 0) and |a|^2 + |b|^2, the size its rounding scales with."""
    centre = tf.stop_gradient(tf.reduce_mean(second, axis=0))
    first, second = first - centre, second - centre
    sizes = tf.reduce_sum(tf.square(first), axis=1)[:, None] + tf.reduce_sum(tf.square(second), axis=1)[None]
    return sizes - 2 * tf.matmul(first, second, transpose_b=True), sizes
