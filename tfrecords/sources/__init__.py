"""Sources of images, one file each: (options) -> `schema.Item`s in a fixed order.

A source has `__iter__`, `len()` and `description` (a dict of plain JSON facts: "source", "location" ...), and where
they say something `ignored` (images left out because no pattern or list has them) and `pairs` ((path, path, same 0 or
1, fold or -1) of its items). It can be pickled, holds no image, and reads none before an item's `read`. Names in lists,
tables and annotations are only looked up in the folder or zip that is given.
"""
