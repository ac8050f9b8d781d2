"""Losses of several views of an image: (views [b, V, D], labels [b] or None) -> [b], one value an image."""
