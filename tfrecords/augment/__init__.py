"""Augmentations: (images [b,H,W,C] in [0,1], seed [2], strength) -> images; batched and stateless, one file each."""
