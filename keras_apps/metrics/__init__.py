"""Metrics: NumPy in, floats out; no TensorFlow."""
