"""Losses, one folder a call signature."""
