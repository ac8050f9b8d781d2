"""Explainers: (map_of, logits_of, images [n,H,W,C], classes [n] int32) -> evidence [n,H,W] float32 in [0, 1].

map_of: images -> map [n,h,w,d], logits_of: map -> [n,K]: functions of TensorFlow, each image by itself. Evidence: what
speaks for that class; the largest place of an image is 1, all are 0 where nothing does. A graph can hold all of it.
"""
