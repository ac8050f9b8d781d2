"""Losses of an image: (image, target) -> [b], both [b, H, W, C] in [0, 1], a mean over pixels and channels."""
