import pytest

from keras_apps.generators._sizes import doublings


@pytest.mark.parametrize("size, wanted", [
    (8, ((4, 4), (8, 8))), (28, ((7, 7), (14, 14), (28, 28))), (30, ((15, 15), (30, 30))),
    (32, ((4, 4), (8, 8), (16, 16), (32, 32))), ((16, 32), ((4, 8), (8, 16), (16, 32))),
    (64, ((4, 4), (8, 8), (16, 16), (32, 32), (64, 64))), ((12, 40), ((6, 20), (12, 40))),
    ([8, 64], ((4, 32), (8, 64)))])
def test_each_is_twice_the_one_before(size, wanted):
    assert doublings(size) == wanted
    for small, large in zip(wanted, wanted[1:]):
        assert large == (2 * small[0], 2 * small[1])
    assert min(wanted[0]) >= 4


@pytest.mark.parametrize("size", [27, 6, 4, 1, (28, 27), (8, 6), (6, 64)])
def test_what_cannot_be_halved_is_refused(size):
    with pytest.raises(ValueError, match=r"^`size` is .* both sides must be even and at least 8; use 28, 32 or 64\.$"):
        doublings(size)
