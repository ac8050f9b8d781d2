"""Optimizers: one file each, Keras optimizers with our names and a schedule."""
