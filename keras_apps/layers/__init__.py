"""Layers: tensor -> tensor, one file each; what Keras has not, or not as the loop needs it."""
