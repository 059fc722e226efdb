"""The inner loop of a kernel: found in its assembly, and its time by LLVM's pipeline model."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from dataclasses import dataclass

from bnn_tvm.errors import ToolchainError
from bnn_tvm.target import Target

_LABEL = re.compile(r"^(\.L\w+):")
_BRANCH = re.compile(r"^\t(?:b|cbn?z|tbn?z)[.\w]*\t(?:\w+, )?(?:#\d+, )?(\.L\w+)")
_COMMENT = re.compile(r"\s*(//|@).*")
_ITERATIONS = 100


@dataclass(frozen=True)
class InnerLoop:
    """A loop without a loop inside.

    Attributes
    ----------
    instructions : tuple of str
        In order, the branch back last.
    """

    instructions: tuple[str, ...]

    def count(self, mnemonic: str) -> int:
        """Count the instructions of a name, such as ``cnt`` or ``fmla``."""
        return sum(line.split()[0] == mnemonic for line in self.instructions)

    @property
    def stack_accesses(self) -> int:
        """Count the instructions that read or write the stack: registers ran out."""
        return sum(re.search(r"\[sp\b", line) is not None for line in self.instructions)

    def cycles(self, target: Target) -> float:
        """Return the cycles of one iteration by llvm-mca's model of the target's processor.

        NaN for 32-bit ARM: LLVM has no model of the small cores that it is for.

        Raises
        ------
        ToolchainError
            If llvm-mca is not installed.
        """
        if target.architecture == "arm":
            return math.nan
        tool = shutil.which("llvm-mca") or shutil.which("llvm-mca-14")
        if tool is None:
            raise ToolchainError(
                "no llvm-mca found; install it, on Debian with: apt-get install llvm"
            )
        command = [tool, f"-mtriple={target.triple}", f"-mcpu={target.mcpu}"]
        command += [f"-iterations={_ITERATIONS}"]
        text = "\n".join(self.instructions)
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
        found = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
        assert found is not None, done.stderr
        return int(found[1]) / _ITERATIONS


def find_inner_loop(assembly: str, mnemonic: str) -> InnerLoop:
    """Find the loop without loops inside that has the most instructions of a name.

    Parameters
    ----------
    assembly : str
        As LLVM writes it.
    mnemonic : str
        What the loop is for, such as ``cnt`` or ``fmla``.

    Returns
    -------
    InnerLoop
        Empty if there is none.
    """
    loops = [InnerLoop(lines) for lines in _loops(assembly)]
    return max(loops, key=lambda loop: loop.count(mnemonic), default=InnerLoop(()))


def _loops(assembly: str) -> list[tuple[str, ...]]:
    """List the instructions from each label to the first branch back to it, without labels inside.

    A loop that contains another one contains its label, and so is left out.
    """
    found = []
    label = ""
    body: list[str] = []
    for raw in assembly.splitlines():
        line = _COMMENT.sub("", raw)
        if match := _LABEL.match(line):
            label, body = match[1], []
        elif line.startswith("\t") and not line.startswith("\t."):
            body.append(line.strip())
            branch = _BRANCH.match(line)
            if branch and branch[1] == label:
                found.append(tuple(body))
    return found
