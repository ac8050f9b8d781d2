"""Mixings: (batch, seed [2]) -> batch; they may change labels as well as images. One file each."""
