"""Batch normalisation over the global batch."""

import tensorflow as tf

SUM = tf.distribute.ReduceOp.SUM
LEAST = 1.001e-5        # the smallest epsilon that the fused operation takes


class BatchNormLayer(tf.keras.layers.Layer):
    """Batch normalisation whose mean and variance are those of the batch of all replicas.

    y = gamma (x - mean) / sqrt(variance + epsilon) + beta;  moving = momentum moving + (1 - momentum) of the batch

    In training mean and variance are taken over all axes but the last, without it the moving ones are used. Those are
    equal on all replicas and stored once: reading or saving them is no collective, and a restart goes on with their
    very bits on any number of replicas. Statistics are float32 whatever x is.

    Args:    momentum: in [0, 1).  epsilon: at least 1.001e-5.  center, scale: whether there are beta and gamma.
             gamma_initializer: of Keras.
    Call:    [b, ..., d], training -> the same shape; every replica must hold the same b.
    Raises:  ValueError for a momentum or an epsilon out of range.
    Source:  Ioffe and Szegedy, ICML 2015, arXiv:1502.03167, algorithm 1.
    Differs: the moving variance is of the batch as it is, not corrected by n / (n - 1). From Keras' synchronised one:
             the variance is taken about the mean, not as the difference of two large sums, which loses digits that
             training then amplifies; and moving statistics are not kept a replica.
    """

    def __init__(self, momentum=0.9, epsilon=LEAST, center=True, scale=True, gamma_initializer="ones"):
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"`momentum` is {momentum} but must lie in [0, 1).")
        if epsilon < LEAST:
            raise ValueError(f"`epsilon` is {epsilon} but must be at least {LEAST}.")
        self.momentum, self.epsilon, self.center, self.scale = momentum, epsilon, center, scale
        self.gamma_initializer = gamma_initializer

    def build(self, shape):
        def add(name, initial, trainable):
            held = {} if trainable else {"aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA}
            return self.add_weight(name, [shape[-1]], tf.float32, initial, trainable=trainable,
                                   experimental_autocast=False, **held)
        self.gamma = add("gamma", self.gamma_initializer, True) if self.scale else None
        self.beta = add("beta", "zeros", True) if self.center else None
        self.moving_mean = add("moving_mean", "zeros", False)
        self.moving_variance = add("moving_variance", "ones", False)
        super().build(shape)

    def call(self, x, training=False):
        gamma = tf.ones_like(self.moving_mean) if self.gamma is None else tf.convert_to_tensor(self.gamma)
        beta = tf.zeros_like(self.moving_mean) if self.beta is None else tf.convert_to_tensor(self.beta)
        if not training:
            held = [tf.convert_to_tensor(value) for value in (self.moving_mean, self.moving_variance)]
            if x.shape.rank == 4:
                return tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, *held, self.epsilon, is_training=False)[0]
            return self._with(x, gamma, beta, *held)
        context = tf.distribute.get_replica_context()
        if x.shape.rank == 4 and (context is None or context.num_replicas_in_sync == 1):
            y, mean, variance = tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, epsilon=self.epsilon)
            count = tf.cast(tf.size(x) / tf.shape(x)[-1], tf.float32)
            variance *= (count - 1.0) / count       # the operation corrects it
        else:
            mean, variance = self._moments(x, context)
            y = self._with(x, gamma, beta, mean, variance)
        for moving, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign_sub((1.0 - self.momentum) * (moving - tf.stop_gradient(new)))
        return y

    def _moments(self, x, context):
        x, axes = tf.cast(x, tf.float32), list(range(x.shape.rank - 1))
        replicas = context.num_replicas_in_sync if context else 1
        count = tf.cast(tf.size(x) / tf.shape(x)[-1], tf.float32) * replicas

        def total(values):
            values = tf.reduce_sum(values, axes)
            return context.all_reduce(SUM, values) if replicas > 1 else values
        mean = total(x) / count
        return mean, total(tf.math.squared_difference(x, mean)) / count

    def _with(self, x, gamma, beta, mean, variance):
        wide = tf.cast(x, tf.float32)
        return tf.cast((wide - mean) * (tf.math.rsqrt(variance + self.epsilon) * gamma) + beta, x.dtype)
