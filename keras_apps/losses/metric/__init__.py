"""Metric losses: (embeddings [b, D], labels [b]) -> [b], one value an anchor."""
