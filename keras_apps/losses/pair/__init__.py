"""Losses of listed pairs: (first [b, D], second [b, D], same [b]) -> [b], one value a pair."""
