"""Image collections as TFRecord shards: writing, reading, sampling and augmenting."""
