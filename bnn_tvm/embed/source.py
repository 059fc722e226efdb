"""Write the C source of a library: its header, its program, an example and how to build them."""

from __future__ import annotations

import importlib.resources
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..package.manifest import Manifest, TensorInfo
from ..package.recording import INPUT_SCALE, Recording
from ..target import Target
from ..toolchain import abi_flags, c_compiler
from .kernels import PlainKernel, part_name
from .memory import ALIGNMENT, Arena, workspace_name
from .program import Program, Step, identifier

_MAIN = "main.c"
# What a compiler that serves many processors must be told.
_FLAGS = """\
target_compile_options({prefix} PUBLIC {flags})
target_link_options({prefix} PUBLIC {flags})
"""
# Where no operating system starts the example.
_BOARD_FILES = ("board.c", "board.ld")
_BOARD = """\
target_sources({prefix}_check PRIVATE board.c)
target_link_options({prefix}_check PRIVATE --specs=rdimon.specs -Wl,-z,noexecstack
  -T "${{CMAKE_CURRENT_SOURCE_DIR}}/board.ld")
"""


@dataclass(frozen=True)
class Library:
    """What the source is written from.

    Attributes
    ----------
    manifest : Manifest
        Names and shapes.
    program : Program
    arena : Arena
    kernels : dict of str to PlainKernel
        By the names that `program` uses.
    recording : Recording
        Inputs and outputs for the self-test.
    target : Target
    """

    manifest: Manifest
    program: Program
    arena: Arena
    kernels: dict[str, PlainKernel]
    recording: Recording
    target: Target

    @property
    def prefix(self) -> str:
        """What every symbol and file begins with."""
        return f"bnn_{identifier(self.manifest.name)}"

    def symbol(self, name: str) -> str:
        """Name the symbol of a kernel or constant."""
        return f"{self.prefix}_{identifier(name)}"


def write_source(library: Library) -> dict[str, str]:
    """Write all text files of a library.

    Returns
    -------
    dict of str to str
        Text by file name.
    """
    facts = _common_facts(library)
    prefix = library.prefix
    guard = f"{prefix.upper()}_SELFTEST_H"
    return {
        f"{prefix}.h": _fill("model.h", facts | _header_facts(library)),
        f"{prefix}.c": _fill("model.c", facts | _program_facts(library)),
        f"{prefix}_selftest.h": _fill(
            "selftest.h", facts | _selftest_facts(library.recording) | {"GUARD": guard}
        ),
        _MAIN: _fill(_MAIN, facts | _example_facts(library)),
        "CMakeLists.txt": _fill("CMakeLists.txt", facts | _build_facts(library)),
        "toolchain.cmake": _fill("toolchain.cmake", facts | _build_facts(library)),
        **{name: _fill(name, facts) for name in _BOARD_FILES if library.target.is_bare_metal},
    }


def _fill(template: str, facts: dict[str, str]) -> str:
    folder = importlib.resources.files(__package__) / "templates"
    return string.Template((folder / template).read_text(encoding="utf-8")).substitute(facts)


def _common_facts(library: Library) -> dict[str, str]:
    manifest = library.manifest
    made_by = f"bnn_tvm {manifest.versions['bnn_tvm']}"
    floats = ", ".join(f"float *{name}" for name in _names("output", manifest.outputs))
    inputs = ", ".join(f"const float *{name}" for name in _names("input", manifest.inputs))
    return {
        "title": f"{manifest.name}, compiled by {made_by} for {manifest.target.id}",
        "prefix": library.prefix,
        "PREFIX": library.prefix.upper(),
        "GUARD": f"{library.prefix.upper()}_H",
        "alignment": str(ALIGNMENT),
        "input_scale": str(INPUT_SCALE),
        "parameters": f"{inputs}, {floats}",
    }


def _names(role: str, tensors: Sequence[TensorInfo]) -> list[str]:
    """Name the parameters for inputs or outputs: `input` if there is one, else numbered."""
    return [role] if len(tensors) == 1 else [f"{role}{i}" for i in range(len(tensors))]


def _header_facts(library: Library) -> dict[str, str]:
    manifest = library.manifest
    tensors = [*manifest.inputs, *manifest.outputs]
    names = [*_names("input", manifest.inputs), *_names("output", manifest.outputs)]
    pairs = list(zip(names, tensors, strict=True))
    return {
        "arena_size": str(library.arena.size),
        "steps": str(len(library.program.steps)),
        "num_inputs": str(len(manifest.inputs)),
        "num_outputs": str(len(manifest.outputs)),
        "max_rank": str(max(1, *(len(tensor.shape) for tensor in tensors))),
        "sizes": "\n".join(
            f"#define {library.prefix.upper()}_{name.upper()}_SIZE {_floats(tensor)} /* floats */"
            for name, tensor in pairs
        ),
        "tensors": "\n".join(
            f" * {name}: {tensor.name}, shape {_shape(tensor)}" + _layout(tensor)
            for name, tensor in pairs
        ),
    }


def _floats(tensor: TensorInfo) -> int:
    return tensor.nbytes // 4


def _shape(tensor: TensorInfo) -> str:
    return " x ".join(map(str, tensor.shape))


def _layout(tensor: TensorInfo) -> str:
    return f" ({tensor.layout})" if tensor.layout else ""


def _program_facts(library: Library) -> dict[str, str]:
    manifest, program = library.manifest, library.program
    steps = list(enumerate(program.steps))
    used = dict.fromkeys(step.kernel for step in program.steps)
    return {
        "declarations": "\n".join([*_declare_kernels(library, used), *_declare_weights(library)]),
        "run_parts": "\n\n".join(_run_part(library, *part) for part in _parts(library)),
        "num_parts": str(len(list(_parts(library)))),
        "parts": "\n".join(_part_entry(library, *part) for part in _parts(library)),
        "step_names": "\n".join(f"  {_step_names(library, step)}," for _, step in steps),
        "input_tensors": "\n".join(map(_tensor, manifest.inputs)),
        "output_tensors": "\n".join(map(_tensor, manifest.outputs)),
        "copy_in": "\n".join(_copy_in(library)),
        "copy_out": "\n".join(_copy_out(library)),
        "input_names": ", ".join(_names("input", manifest.inputs)),
        "output_names": ", ".join(_names("output", manifest.outputs)),
    }


def _declare_kernels(library: Library, names: Iterable[str]) -> Iterable[str]:
    for name in names:
        info = library.manifest.kernel(name)
        reads = ["const void *"] * (len(info.arguments) - info.num_outputs)
        pointers = ", ".join([*reads, *["void *"] * (info.num_outputs + 1)])
        for index in range(len(library.kernels[name].parts)):
            symbol = library.symbol(part_name(name, index))
            yield f"void {symbol}({pointers}, int32_t begin, int32_t end);"


def _parts(library: Library) -> Iterable[tuple[int, Step, int]]:
    """List the parts of the steps, each with its step and its place there."""
    for index, step in enumerate(library.program.steps):
        for part in range(len(library.kernels[step.kernel].parts)):
            yield index, step, part


def _part_entry(library: Library, index: int, step: Step, part: int) -> str:
    tasks = library.kernels[step.kernel].parts[part].tasks
    return f"  {{step_{part_name(str(index), part)}, {tasks}, {index}}},"


def _declare_weights(library: Library) -> Iterable[str]:
    for name, value in library.program.constants.items():
        yield f"extern const unsigned char {library.symbol(name)}[{value.nbytes}];"


def _run_part(library: Library, index: int, step: Step, part: int) -> str:
    arguments = [_address(library, name) for name in (*step.reads, *step.writes)]
    scratch = library.arena.offsets.get(workspace_name(index))
    arguments.append("NULL" if scratch is None else f"arena + {scratch}")
    lines = ",\n      ".join([*arguments, "begin, end"])
    return (
        f"static void step_{part_name(str(index), part)}(\n"
        f"    void *closure, int32_t begin, int32_t end) {{\n"
        f"  unsigned char *const arena = closure;\n"
        f"  {library.symbol(part_name(step.kernel, part))}(\n      {lines});\n}}"
    )


def _address(library: Library, name: str, arena: str = "arena") -> str:
    """Say where a block or constant lies, in terms of the C variable that points to the arena."""
    if name in library.program.constants:
        return library.symbol(name)
    return f"{arena} + {library.arena.offsets[name]}"


def _step_names(library: Library, step: Step) -> str:
    layers = ", ".join(library.manifest.kernel(step.kernel).layers)
    return f"{{{_quote(step.kernel)}, {_quote(layers)}}}"


def _quote(text: str) -> str:
    """Spell a string literal; what C or JSON would read as more than itself becomes ``_``."""
    plain = "".join(
        c if c.isascii() and c.isprintable() and c not in '"\\?%' else "_" for c in text
    )
    return f'"{plain}"'


def _tensor(tensor: TensorInfo) -> str:
    extents = ", ".join(map(str, tensor.shape))
    return f"  {{{_quote(tensor.name)}, {len(tensor.shape)}, {{{extents}}}, {_floats(tensor)}}},"


def _copy_in(library: Library) -> Iterable[str]:
    for index, name in enumerate(library.program.inputs):
        size = library.program.blocks[name]
        yield f"  memcpy({_address(library, name, 'bytes')}, inputs[{index}], {size});"


def _copy_out(library: Library) -> Iterable[str]:
    pairs = zip(library.program.outputs, library.manifest.outputs, strict=True)
    for index, (name, tensor) in enumerate(pairs):
        yield f"  memcpy(outputs[{index}], {_address(library, name, 'bytes')}, {tensor.nbytes});"


def _selftest_facts(recording: Recording) -> dict[str, str]:
    pattern = _array("int8_t", "selftest_pattern", map(str, recording.pattern))
    outputs = [
        _array("float", f"selftest_output{i}", map(_literal, values.ravel()))
        for i, values in enumerate(recording.outputs)
    ]
    return {
        "tolerance": f"{recording.tolerance:.9e}f",
        "arrays": "\n\n".join([pattern, *outputs]),
        "output_names": ", ".join(f"selftest_output{i}" for i in range(len(outputs))),
    }


def _literal(value: np.float32) -> str:
    """Spell a float in C, exactly; what is not finite is not compared."""
    return f"{float(value):#.9g}f" if np.isfinite(value) else "NAN"


def _array(dtype: str, name: str, values: Iterable[str]) -> str:
    numbers = list(values)
    rows = [",".join(numbers[start : start + 16]) for start in range(0, len(numbers), 16)]
    lines = ",\n".join(rows)
    return f"static const {dtype} {name}[{len(numbers)}] = {{\n{lines}}};"


def _example_facts(library: Library) -> dict[str, str]:
    manifest = library.manifest
    return {
        "input_floats": str(sum(map(_floats, manifest.inputs))),
        "output_floats": str(sum(map(_floats, manifest.outputs))),
    }


def _build_facts(library: Library) -> dict[str, str]:
    flags = " ".join(abi_flags(library.target))
    return {
        "flags": _FLAGS.format(prefix=library.prefix, flags=flags) if flags else "",
        "compiler": c_compiler(library.target),
        "system": "Generic" if library.target.is_bare_metal else "Linux",
        "processor": library.target.architecture,
        "board": _BOARD.format(prefix=library.prefix) if library.target.is_bare_metal else "",
    }
