"""Applications, methods and the one training loop: TFRecords in, trained networks out."""
