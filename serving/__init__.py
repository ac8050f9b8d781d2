"""Embedded gRPC server, client, gallery command and the files for the real TF Serving."""

import os

import saved_models  # noqa: F401 - keeps TensorFlow's start-up notices off the screen

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # likewise; read once, when grpc is imported
