"""Losses of a classification: (logits [b, K], target [b] int, -1 = none, or [b, K] shares) -> [b]."""
