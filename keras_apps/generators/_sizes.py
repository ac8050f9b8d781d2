"""From a small map to an image by doublings."""

from tfrecords.decode import height_and_width

LEAST = 4       # pixels of the shorter side that are not halved any more


def doublings(size):
    """((h, w), ...) from the smallest map to the image: each twice as large as the one before.

    Args:    size: of the image, as in configs. 28 -> 7, 14, 28; 64 -> 4, 8, 16, 32, 64.
    Raises:  ValueError where the image cannot be halved once.
    """
    sizes = [height_and_width(size)]
    while all(side % 2 == 0 and side // 2 >= LEAST for side in sizes[0]):
        sizes.insert(0, (sizes[0][0] // 2, sizes[0][1] // 2))
    if len(sizes) < 2:
        raise ValueError(f"`size` is {size} but this network doubles a map until it is as large: both sides must be "
                         "even and at least 8; use 28, 32 or 64.")
    return tuple(sizes)
