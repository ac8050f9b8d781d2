"""Image collections as TFRecord shards: writing, reading, sampling and augmenting."""

import os

# TensorFlow's start-up notices would bury what a command says; its errors come as exceptions all the same.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
