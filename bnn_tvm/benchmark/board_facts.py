"""What a board says that it is, and whether it runs code for a target."""

from __future__ import annotations

from dataclasses import dataclass

from ..device import LocalDevice
from ..gpu import GpuInfo
from ..package.manifest import TargetInfo


@dataclass(frozen=True)
class BoardFacts:
    """A board, as it describes itself.

    Attributes
    ----------
    name : str
        What to call it in errors.
    machine : LocalDevice
    processor : str
        Its processor's name, with its family and model numbers.
    gpu : GpuInfo
        Its first GPU, or why there is none.
    """

    name: str
    machine: LocalDevice
    processor: str
    gpu: GpuInfo

    def check_runs(self, target: TargetInfo) -> None:
        """Make sure that the board runs code for a target.

        Raises
        ------
        DeviceError
            If the code needs a GPU and there is none that works.
        WrongArchitectureError
            If its processor or its GPU is another one, or older.
        """
        self.machine.check_runs(target, self.name)
        if target.gpu:
            self.gpu.check_runs(target.gpu, self.name)

    def model_that_runs(self, target: TargetInfo) -> str:
        """Name the processor, or the GPU if the code is for one."""
        return self.gpu.name if target.gpu else self.processor
