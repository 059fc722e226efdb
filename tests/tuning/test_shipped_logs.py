"""The logs that come with bnn_tvm have a record that fits for every kernel they were made for."""

from __future__ import annotations

import pytest

from benchmarks.networks import zoo_network
from bnn_tvm.compiler import prepare
from bnn_tvm.target import get_target
from bnn_tvm.tuning.records import find_log
from bnn_tvm.tuning.tasks import find_tasks

TARGET = get_target("x86-64-vpopcntdq")


@pytest.mark.slow
@pytest.mark.parametrize("network", ["resnet18_e1", "densenet28", "meliusnet22"])
def test_networks_of_the_zoo_are_tuned(network):
    records = find_log(TARGET, None).records()
    prepared = prepare(zoo_network(network), target=TARGET.id, input_shape=(1, 3, 224, 224))
    tasks = find_tasks(prepared.lowered, prepared.manifest.kernels, TARGET)
    assert tasks
    assert [task.label for task in tasks if task.signature not in records] == []
    assert [kernel.note for kernel in prepared.manifest.kernels if "not fit" in kernel.note] == []
