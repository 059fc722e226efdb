"""From a scheduled module to the files of a C library."""

from __future__ import annotations

from tvm.ir import IRModule

from ..errors import ModelError
from ..package.manifest import Manifest, TensorInfo
from ..package.recording import Recording
from ..target import Target
from .kernels import lower_kernels, part_name
from .machine_code import compile_object
from .memory import plan_arena
from .program import read_program
from .source import Library, write_source


def build_c_library(
    mod: IRModule, manifest: Manifest, target: Target, recording: Recording
) -> dict[str, bytes]:
    """Make the files of a C library.

    Parameters
    ----------
    mod : IRModule
        Scheduled for `target`.
    manifest : Manifest
        That describes it.
    target : Target
    recording : Recording
        For the self-test.

    Returns
    -------
    dict of str to bytes
        Content by file name.

    Raises
    ------
    ModelError
        If an input or output is not float32, or nothing is computed.
    """
    _check_border((*manifest.inputs, *manifest.outputs))
    program = read_program(mod)
    if not program.steps:
        raise ModelError("the model computes nothing; a C package needs at least one operator")
    kernels = lower_kernels(mod, target)
    arena = plan_arena(program, {name: kernel.workspace for name, kernel in kernels.items()})
    library = Library(manifest, program, arena, kernels, recording, target)
    code = compile_object(
        {
            library.symbol(part_name(name, index)): part.func
            for name, kernel in kernels.items()
            for index, part in enumerate(kernel.parts)
        },
        {library.symbol(name): value for name, value in program.constants.items()},
        target,
    )
    text = {name: content.encode() for name, content in write_source(library).items()}
    return {f"{library.prefix}.o": code, **text}


def _check_border(tensors: tuple[TensorInfo, ...]) -> None:
    other = [tensor for tensor in tensors if tensor.dtype != "float32"]
    if other:
        raise ModelError(
            f"{other[0].name} is {other[0].dtype}; a C package takes and gives float32 only, "
            "compile with --format library"
        )
