"""Backbones: images [b,H,W,C] in [0, 1] -> {"map3", "map4", "map5"}; one file each."""
