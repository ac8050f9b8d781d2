"""Images that would fill the memory are refused by their head."""

import io

import numpy as np
import pytest
from PIL import Image

from serving.pixels import MOST_IMAGES, encoded_size, require_pixels
from serving.status import Code, StatusError
from serving.tensors import text_array


def encoded(form, width=7, height=5):
    stream = io.BytesIO()
    Image.new("L", (width, height)).save(stream, form)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_sizes_are_those_of_the_head(form):
    data = encoded(form)
    assert encoded_size(data) == (5, 7)
    with pytest.raises(StatusError, match="image 1 of `image_bytes_2` has 5 x 7 pixels but at most 34 are") as told:
        require_pixels({"image_bytes_2": text_array([encoded("PNG", 2, 2), data])}, 34)
    assert told.value.code == Code.INVALID_ARGUMENT
    require_pixels({"image_bytes": text_array([data] * 4)}, 35)
    with pytest.raises(StatusError, match="have 175 pixels together but at most 140 are taken at once"):
        require_pixels({"image_bytes": text_array([data] * 5)}, 35)


def test_a_huge_head_on_a_small_file():
    data = bytearray(encoded("PNG"))
    data[16:24] = (100_000).to_bytes(4, "big") * 2
    with pytest.raises(StatusError, match="100,000 x 100,000"):
        require_pixels({"image_bytes": text_array([bytes(data)])})
    data = bytearray(encoded("BMP"))
    data[18:26] = (60_000).to_bytes(4, "little") * 2
    with pytest.raises(StatusError, match="pixels but at most"):
        require_pixels({"image_bytes": text_array([bytes(data)])})


def test_a_bomb_by_number():
    """Each image becomes as large as the model takes, however small it is."""
    most = np.full([MOST_IMAGES], encoded("PNG", 1, 1), object)
    require_pixels({"image_bytes": most, "text": np.append(most, b"")})
    told = "`image_bytes_1` holds 4,097 images but at most 4,096 are taken at once; send several requests"
    for more in (np.append(most, b""), np.append(most, b"")[:, None]):
        with pytest.raises(StatusError, match=told) as caught:
            require_pixels({"image_bytes_1": more})
        assert caught.value.code == Code.INVALID_ARGUMENT


def test_what_is_no_image_is_left_to_the_graph():
    for data in (b"", b"x", encoded("PNG")[:12], encoded("JPEG")[:9]):
        assert encoded_size(data) is None
        require_pixels({"image_bytes": text_array([data])}, 1)
    require_pixels({"text": text_array([encoded("PNG")]), "image_tensor": np.zeros([9, 9])}, 1)
