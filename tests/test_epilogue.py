"""The words for what is fused behind a layer."""

from __future__ import annotations

import pytest

from bnn_tvm.epilogue import summarize_operations

ROUND = "trunc subtract abs greater_equal* sign where* add"


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ("add* divide*", "offset"),
        ("add* divide* subtract* multiply* add* add less* where*", "offset batchnorm add sign"),
        ("add* divide* subtract* multiply* add* tanh", "offset batchnorm tanh"),
        ("subtract* less* where*", "threshold"),
        ("subtract* multiply* less* where*", "threshold"),
        ("subtract* multiply* add* subtract* less* where*", "batchnorm threshold"),
        ("add* subtract* multiply* add*", "bias batchnorm"),
        ("multiply* relu", "scale relu"),
        (f"clip multiply* {ROUND} divide*", "quantize"),
        (f"tanh multiply* {ROUND} divide* relu", "tanh quantize relu"),
        (f"{ROUND} exp", "round exp"),
        # Of two tensors, not of a tensor and a constant.
        ("add divide", "add divide"),
        ("subtract multiply add", "subtract multiply add"),
        ("less where", "less where"),
        ("subtract*", "subtract"),
        ("", ""),
    ],
)
def test_known_groups_get_their_names(operations, expected):
    assert summarize_operations(operations.split()) == expected.split()
