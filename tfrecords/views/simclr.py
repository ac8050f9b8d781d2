"""The views of SimCLR."""

from tfrecords.views._recipe import Recipe


class SimclrViews:
    """Views of one kind: random crop, mirror, colour jitter in four of five, grey in one of five, blur.

    Args:    views: V, >= 1.  size: of the views, pixels, or (height, width); 0 = that of the images.
             colour: s in [0, 1]; the jitter's ranges are 0.8 s for brightness, contrast and saturation, 0.2 s of a
             turn for hue. 1 for large photographs, 0.5 for small images.
             area: (smallest, largest) share of the image in the crop.  blur: share of the views blurred by a sigma
             of 0.1 to 2 pixels, 0.5 for large photographs.
    Call:    images [b,H,W,C] in [0, 1], seed [2] int32, strength in [0, 1].
    Returns: a tuple of one [b,V,h,w,C] in [0, 1]; the image V times (resized where `size` differs) at strength 0.
    Raises:  ValueError for views < 1, a colour or blur outside [0, 1], and what crop_resize refuses.
    Source:  Chen et al., ICML 2020, arXiv:2002.05709, appendix A.
    Differs: as jitter, crop_resize and blur do, and the jitter's four parts come in one order.
    """

    def __init__(self, views=2, size=0, colour=0.5, area=(0.08, 1.0), blur=0.0):
        if views < 1:
            raise ValueError(f"`views` is {views} but must be >= 1.")
        if not 0 <= colour <= 1:
            raise ValueError(f"`colour` is {colour} but must lie in [0, 1].")
        if not 0 <= blur <= 1:
            raise ValueError(f"`blur` is {blur} but must lie in [0, 1].")
        self.recipe = Recipe(views, size, area, (0.8 * colour, 0.8 * colour, 0.8 * colour, 0.2 * colour), blur)

    def __call__(self, images, seed, strength=1.0):
        return (self.recipe(images, seed, strength),)
