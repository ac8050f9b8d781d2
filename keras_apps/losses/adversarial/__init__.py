"""Losses of a critic and a generator that play against each other."""
