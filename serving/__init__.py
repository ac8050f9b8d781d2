"""Embedded gRPC server, client, gallery command and the files for the real TF Serving."""

import os

# TensorFlow's start-up notices would bury what a command says; its errors come as exceptions all the same.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # likewise; read once, when grpc is imported
