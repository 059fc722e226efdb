"""What was measured, as records that become JSON and back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from bnn_tvm.benchmark.environment import Environment
from bnn_tvm.errors import InputError
from bnn_tvm.package.atomic import write_atomically

from .cases import Case
from .kernel_times import KernelTime


@dataclass(frozen=True)
class CaseResult:
    """What was measured of one case.

    Attributes
    ----------
    case : Case
    environment : Environment
    seconds : dict of str to tuple of float
        Of one run of each entry, round by round.
    rates : dict of str to tuple of float
        Of each peak in the same rounds: operations or bytes a second.
    differences : dict of str to float
        The largest absolute difference of an entry's output from that of the first entry of
        the same model, divided by the largest value of that one.
    tried_inputs : int
        Inputs that were tried until all engines agreed.
    kernels : tuple of KernelTime
        Of the entry that the case names, if it names one.
    """

    case: Case
    environment: Environment
    seconds: dict[str, tuple[float, ...]]
    rates: dict[str, tuple[float, ...]]
    differences: dict[str, float]
    tried_inputs: int
    kernels: tuple[KernelTime, ...]


_RESULTS = TypeAdapter(tuple[CaseResult, ...])


def save_results(results: tuple[CaseResult, ...], path: Path) -> None:
    """Write results as JSON."""
    write_atomically(path, _RESULTS.dump_json(results, indent=1))


def load_results(path: Path) -> tuple[CaseResult, ...]:
    """Read results.

    Raises
    ------
    InputError
        If the file is missing or not what `save_results` writes.
    """
    try:
        return _RESULTS.validate_json(path.read_bytes())
    except OSError as exc:
        raise InputError(f"no results at {path} ({exc.strerror}); measure them first") from exc
    except ValidationError as exc:
        raise InputError(f"{path} holds no results of this version; measure again") from exc
