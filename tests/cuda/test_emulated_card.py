"""Tests for cards on a card that the processor emulates, through all of TVM's runtime."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cuda_harness import gpu_architecture, needs_nvcc

TESTS = Path(__file__).parents[1]

pytestmark = [
    needs_nvcc,
    pytest.mark.skipif(bool(gpu_architecture()), reason="this machine has a real card"),
]


def run_on_emulated_card(*names: str) -> None:
    """Run tests of `test_on_gpu.py` in a process that finds a card; all of them must pass."""
    tests = [f"cuda/test_on_gpu.py::{name}" for name in names]
    options = ["-p", "emulated_card", "-p", "no:cacheprovider", "-m", "cuda"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
    )
    passed = re.search(r"(\d+) passed", done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert passed and int(passed[1]) == len(names), done.stdout


def test_a_network_is_captured_and_replayed():
    run_on_emulated_card("test_lenet_gives_the_processors_numbers[1]")


@pytest.mark.slow
def test_batches_precisions_and_single_kernels():
    run_on_emulated_card(
        "test_lenet_gives_the_processors_numbers[3]",
        "test_the_self_test_of_a_package_passes",
        "test_a_kernel_alone_runs_on_copies_of_its_arguments",
        "test_layers_in_lower_precision_give_the_processors_numbers[fp16]",
        "test_layers_in_lower_precision_give_the_processors_numbers[tf32]",
    )


@pytest.mark.slow
def test_instructions_and_tiles():
    run_on_emulated_card("test_every_instruction_and_tile_counts_the_same[7]")


@pytest.mark.slow
def test_times_are_taken_by_events():
    run_on_emulated_card("test_bench_times_models_and_kernels_by_events")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18_e1", "densenet28", "meliusnet22"])
def test_networks(name):
    run_on_emulated_card(f"test_networks_give_the_processors_numbers[1-32-{name}]")
