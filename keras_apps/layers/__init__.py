"""Layers: tensor -> tensor; one file each."""
