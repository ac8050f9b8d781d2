"""Poolings: feature map [b, h, w, d] -> embedding [b, D]."""
