"""Embedded gRPC server, client, gallery command and the files for the real TF Serving."""
