"""Assembly that adds to the sums of a tile, as a function of LLVM and an intrinsic of TVM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.s_tir import SBlock, SBlockRealize, TensorIntrin

PIXEL, WEIGHT = "pixel", "weight"
"""Operands that addresses are computed from; buffers of that name are what code reads."""


@dataclass(frozen=True)
class Sums:
    """The sums of a tile.

    Attributes
    ----------
    pixels : int
        Of the tile.
    registers : int
        Of each pixel.
    element : str
        Type of a sum in LLVM's language.
    lanes : int
        Sums of a register.
    neighbours : bool
        Whether registers of a pixel are neighbours in memory; else they are as far apart as the
        second axis of the sums says.
    """

    pixels: int
    registers: int
    element: str
    lanes: int
    neighbours: bool

    @property
    def count(self) -> int:
        """Count the registers of all pixels."""
        return self.pixels * self.registers

    @property
    def vector(self) -> str:
        """Name the type of a register in LLVM's language."""
        return f"<{self.lanes} x {self.element}>"


@dataclass(frozen=True)
class Address:
    """An address that LLVM computes.

    Attributes
    ----------
    name : str
        What it is called in LLVM's language, after ``%``.
    base : str
        `PIXEL` or `WEIGHT`, the beginning of what is read.
    offset : int
        Bytes from there.
    """

    name: str
    base: str
    offset: int


@dataclass(frozen=True)
class Code:
    """Assembly that adds to the sums of a tile.

    Its operands are numbered: sums if it keeps them, what is `moved`, the same again, `operands`.

    Attributes
    ----------
    lines : tuple of str
        Labels end in a colon.
    sums : Sums
    keeps_sums : bool
        Whether sums are in registers; else in memory, at ``%at0`` and so on.
    addresses : tuple of Address
    moved, operands : tuple of str
        Operands that it changes, and others, in LLVM's language.
    overwritten : tuple of str
        Registers, beside those of the operands.
    """

    lines: tuple[str, ...]
    sums: Sums
    keeps_sums: bool
    addresses: tuple[Address, ...]
    moved: tuple[str, ...]
    operands: tuple[str, ...]
    overwritten: tuple[str, ...]


@dataclass(frozen=True)
class Loops:
    """The loops of a description, without those of one turn, which TVM drops.

    Attributes
    ----------
    extents : mapping of str to int
        By name, the outermost first.
    block : str
        Names in the order of the block's axes, those that are summed in upper case.
    """

    extents: Mapping[str, int]
    block: str

    @property
    def turns(self) -> list[int]:
        """List how often the loops turn."""
        return [self.extents[name] for name in self._turning]

    @property
    def kinds(self) -> str:
        """Name the kinds of the block's axes: ``S`` for spatial ones, ``R`` for those reduced."""
        return "".join("R" if name.isupper() else "S" for name in self._axes)

    @property
    def _turning(self) -> list[str]:
        return [name for name, extent in self.extents.items() if extent > 1]

    @property
    def _axes(self) -> list[str]:
        return [name for name in self.block if name in self._turning]

    def in_block_order(self, variables: Sequence[tirx.Var]) -> list[tirx.Var]:
        """Bring the variables of loops into the order of the block's axes."""
        return [variables[self._turning.index(name)] for name in self._axes]

    def at(self, name: str, axes: Sequence[tirx.Var]) -> tirx.Expr:
        """Give the axis of a loop; 0 where there is none."""
        return axes[self._axes.index(name)] if name in self._axes else tirx.const(0, "int32")


def register_code(name: str, described: tirx.PrimFunc, code: Code) -> str:
    """Register the intrinsic of code, which calls a function of the same name; return the name.

    Parameters
    ----------
    name : str
        Of what is computed and of how.
    described : tvm.tirx.PrimFunc
        Says in scalar code what is added to the sums, (pixels, ..., outputs) of variable strides;
        the buffers that it reads are called `PIXEL` and `WEIGHT`.
    code : Code
    """
    TensorIntrin.register(name, described, _call(name, described, code))
    return name


def _call(name: str, described: tirx.PrimFunc, code: Code) -> tirx.PrimFunc:
    """Call the function of code in place of what describes it."""
    root = described.body.block
    buffers = {str(region.source.name): region.source for region in root.reads}
    (total,) = (region.source for region in root.writes)
    sums = code.sums
    call = tirx.call_extern(
        "int32",
        name,
        total.access_ptr("rw"),
        tirx.Cast("int64", total.strides[0]),
        tirx.Cast("int64", sums.lanes if sums.neighbours else total.strides[1]),
        buffers[PIXEL].access_ptr("r"),
        buffers[WEIGHT].access_ptr("r"),
    )
    body = tirx.AttrStmt(0, "pragma_import_llvm", _llvm(name, code), tirx.Evaluate(call))
    block = SBlock([], root.reads, root.writes, root.name_hint, body)
    return described.with_body(SBlockRealize([], True, block))


def _llvm(name: str, code: Code) -> str:
    """Define the function of code in LLVM's language."""
    sums = code.sums
    kept = sums.count if code.keeps_sums else 0
    result = f"{{ {', '.join([sums.vector] * kept + ['ptr'] * len(code.moved))} }}"
    places = "".join(_find_sum(sums, number) for number in range(sums.count))
    loads = "".join(_load_sum(sums, number) for number in range(kept))
    stores = "".join(_store_sum(sums, result, number) for number in range(kept))
    addresses = "".join(
        f"%{address.name} = getelementptr i8, ptr %{address.base}, i64 {address.offset}\n"
        for address in code.addresses
    )
    text = r"\0A".join(line if line.endswith(":") else r"\09" + line for line in code.lines)
    operands = ", ".join(
        [*(f"{sums.vector} %sum{i}" for i in range(kept)), *code.moved, *code.operands]
    )
    return (
        f"define linkonce_odr i32 @{name}"
        f"(ptr %total, i64 %stride, i64 %apart, ptr %{PIXEL}, ptr %{WEIGHT})"
        f" alwaysinline nounwind {{\n{places}{loads}{addresses}"
        f'%new = call {result} asm sideeffect "{text}", "{_constraints(code, kept)}"'
        f"({operands}) noduplicate\n{stores}ret i32 0\n}}\n"
    )


def _find_sum(sums: Sums, number: int) -> str:
    pixel, register = divmod(number, sums.registers)
    return (
        f"%row{number} = mul i64 %stride, {pixel}\n"
        f"%part{number} = mul i64 %apart, {register}\n"
        f"%place{number} = add i64 %row{number}, %part{number}\n"
        f"%at{number} = getelementptr {sums.element}, ptr %total, i64 %place{number}\n"
    )


def _load_sum(sums: Sums, number: int) -> str:
    return f"%sum{number} = load {sums.vector}, ptr %at{number}, align 2\n"


def _store_sum(sums: Sums, result: str, number: int) -> str:
    return (
        f"%new{number} = extractvalue {result} %new, {number}\n"
        f"store {sums.vector} %new{number}, ptr %at{number}, align 2\n"
    )


def _constraints(code: Code, sums: int) -> str:
    outputs = ["=w"] * sums + ["=r"] * len(code.moved)
    tied = [str(number) for number in range(len(outputs))]
    overwritten = [f"~{{{register}}}" for register in code.overwritten]
    inputs = ["r"] * len(code.operands)
    return ",".join([*outputs, *tied, *inputs, *overwritten, "~{memory}"])
