"""Write kernels and weights as one relocatable object file."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import GlobalVar, IRModule

from ..errors import InternalError
from ..target import Target
from .memory import ALIGNMENT

# TVM puts its own conversions between float16 and float32 into every module. They are weak, so that
# they would take the place of the C compiler's in the program that the object is linked into.
_HALF_FLOATS = re.compile(
    r'^define weak [^\n]* section "\.text\.tvm\.fp16\.conv"[^\n]*\{\n.*?^\}\n',
    re.MULTILINE | re.DOTALL,
)
# Where code refers to debug information, which is larger than the code.
_DEBUG = re.compile(r",? !dbg !\d+|^ *#dbg_[^\n]*\n|^!llvm\.dbg\.cu = [^\n]*\n", re.MULTILINE)


def compile_object(
    functions: Mapping[str, tirx.PrimFunc], weights: Mapping[str, np.ndarray], target: Target
) -> bytes:
    """Compile functions and weights to an object file.

    Parameters
    ----------
    functions : mapping of str to tirx.PrimFunc
        Parts of kernels, by the symbols that they shall have.
    weights : mapping of str to np.ndarray
        Likewise.
    target : Target

    Returns
    -------
    bytes
        An ELF file; needs the C library's string functions at most.
    """
    code = _strip(_generate_code(functions, target))
    data = "".join(_define(symbol, array) for symbol, array in weights.items())
    with tempfile.TemporaryDirectory(prefix="bnn_tvm_") as folder:
        text, output = Path(folder) / "model.ll", Path(folder) / "model.o"
        text.write_text(code + data, encoding="ascii")
        tvm_ffi.load_module(str(text)).write_to_file(str(output), "o")
        return output.read_bytes()


def _generate_code(functions: Mapping[str, tirx.PrimFunc], target: Target) -> str:
    """Compile functions to LLVM's text form, optimized."""
    named = {
        GlobalVar(symbol): func.with_attr("global_symbol", symbol)
        for symbol, func in functions.items()
    }
    mod = tirx.transform.LowerIntrin()(IRModule(named))
    build = tvm.get_global_func(f"target.build.{target.kind}")
    return build(mod, target.to_tvm()).inspect_source("ll")


def _strip(code: str) -> str:
    """Remove what does not belong into a library: half-float conversions, debug information."""
    stripped = _DEBUG.sub("", _HALF_FLOATS.sub("", code))
    if left := [name for name in ("@__truncsfhf2", "@__extendhfsf2") if name in stripped]:
        raise InternalError(f"the generated code uses {' and '.join(left)}; report it")
    return stripped


def _define(symbol: str, array: np.ndarray) -> str:
    """Define a constant of LLVM's text form."""
    content = array.tobytes()
    text = "".join(_ESCAPES[byte] for byte in content)
    return f'@{symbol} = constant [{len(content)} x i8] c"{text}", align {ALIGNMENT}\n'


_ESCAPES = [f"\\{byte:02X}" for byte in range(256)]
