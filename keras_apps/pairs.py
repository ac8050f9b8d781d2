"""Pairs across replicas: the one place where a loss meets the other replicas' embeddings."""

import tensorflow as tf


def across(embeddings, labels):
    """The global batch as columns for this replica's anchors.

    The gather stays differentiable: the gradient of the sum over replicas of (own-row sum / B) is then
    exactly the single-device gradient. A stop_gradient on the gathered tensor would give another one.

    Args:    embeddings: [b, D].  labels: [b] int; every replica must hold the same b.
    Returns: all_embeddings [B, D], all_labels [B], offset (int32 scalar): own anchor i is column offset + i.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return embeddings, labels, tf.constant(0, tf.int32)
    offset = tf.cast(context.replica_id_in_sync_group, tf.int32) * tf.shape(embeddings)[0]
    # An input of the step itself has no device, which a gather over workers needs.
    embeddings, labels = tf.identity(embeddings), tf.identity(labels)
    return _dense(context.all_gather(embeddings, axis=0)), context.all_gather(labels, axis=0), offset


@tf.custom_gradient
def _dense(tensor):
    """The tensor; its gradient made dense: a loss that gathers rows sends IndexedSlices, which all_gather refuses."""
    return tf.identity(tensor), tf.convert_to_tensor
