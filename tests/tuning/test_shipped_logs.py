"""The logs that come with bnn_tvm have a record that fits for every kernel they were made for."""

from __future__ import annotations

import pytest

from benchmarks.networks import zoo_network
from bnn_tvm.compiler import prepare
from bnn_tvm.target import get_target
from bnn_tvm.tuning.records import find_log
from bnn_tvm.tuning.tasks import find_tasks

TUNED = [
    ("x86-64-vpopcntdq", "resnet18_e1"),
    ("x86-64-vpopcntdq", "densenet28"),
    ("x86-64-vpopcntdq", "meliusnet22"),
    ("x86-64-zen4", "resnet18_e1"),
    ("x86-64-zen4", "densenet28"),
    ("x86-64-zen4", "meliusnet22"),
]


@pytest.mark.slow
@pytest.mark.parametrize("name, network", TUNED)
def test_networks_of_the_zoo_are_tuned(name, network):
    target = get_target(name)
    records = find_log(target, None).records()
    prepared = prepare(zoo_network(network), target=name, input_shape=(1, 3, 224, 224))
    tasks = find_tasks(prepared.lowered, prepared.manifest.kernels, target)
    assert tasks
    assert [task.label for task in tasks if task.signature not in records] == []
    assert [kernel.note for kernel in prepared.manifest.kernels if "not fit" in kernel.note] == []
