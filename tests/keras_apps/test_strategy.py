import pytest

from keras_apps.strategy import make_strategy


def test_refusals():
    with pytest.raises(ValueError, match="`strategy` is 'two' but must be one of one, mirrored"):
        make_strategy("two")
    with pytest.raises(ValueError, match="no GPU; give --replicas=2 to split the CPU"):
        make_strategy("mirrored")
    with pytest.raises(ValueError, match="`replicas` is 2 but --strategy=one computes in one place"):
        make_strategy("one", 2)
    with pytest.raises(ValueError, match="`replicas` is -1"):
        make_strategy("mirrored", -1)
