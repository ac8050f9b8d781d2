"""Sources of images, one file each: (options) -> Items in a fixed order, with `len()` and `description`."""
