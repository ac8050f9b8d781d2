"""SavedModel versions: signatures, export, verification, version folders, the gallery; how commands start."""

import os

# TensorFlow's start-up notices would bury what a command says; its errors come as exceptions all the same.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
