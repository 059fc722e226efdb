"""A tuning log: the best schedule found for each kernel, and the environment of the measurements.

A folder holds ``environment.json`` and ``best.json``. Neither is trusted: what is not exactly as
this module writes it is refused, and the rules decide whether the choices are theirs.
"""

from __future__ import annotations

import importlib.resources
import importlib.util
import json
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TypeVar

from ..errors import TuneLogError
from ..package.atomic import write_atomically
from ..package.fields import decode, encode
from ..schedules import Record
from ..target import Target
from .environment import TuningEnvironment

ENVIRONMENT_FILE, BEST_FILE = "environment.json", "best.json"

# The installed logs, a folder a target. An installation may do without them.
_SHIPPED = "bnn_tvm.tune_logs"

T = TypeVar("T")


@dataclass(frozen=True)
class BestSchedule:
    """What tuning found for one kernel.

    Attributes
    ----------
    kernel : str
        Its signature.
    rule : str
    choices : dict of str to str
        Of the rule.
    seconds, seconds_by_hand : float
        Of one call so, and with what the rule chooses by hand: the median of the latter, times
        the median share of it that the former took when measured in turn.
    measured : int
        How many schedules were measured.
    """

    kernel: str
    rule: str
    choices: dict[str, str]
    seconds: float
    seconds_by_hand: float
    measured: int


@dataclass(frozen=True)
class TuneLog:
    """A tuning log as read.

    Attributes
    ----------
    environment : TuningEnvironment
    kernels : tuple of BestSchedule
    """

    environment: TuningEnvironment
    kernels: tuple[BestSchedule, ...]

    def records(self) -> dict[str, Record]:
        """Give the schedules as rules take them, by kernel signature."""
        return {best.kernel: Record(best.rule, best.choices) for best in self.kernels}


@dataclass(frozen=True)
class _Best:
    """Content of ``best.json``."""

    kernels: tuple[BestSchedule, ...]


def find_log(target: Target, folder: Path | None) -> TuneLog | None:
    """Read the tuning log in a folder, or the one that is installed for the target if there is any.

    Raises
    ------
    TuneLogError
        If the given folder has no log of the target, or a file is damaged.
    """
    if folder is not None:
        return read_log(folder, target)
    if importlib.util.find_spec(_SHIPPED) is None:
        return None
    shipped = importlib.resources.files(_SHIPPED).joinpath(target.id)
    return read_log(shipped, target) if shipped.joinpath(BEST_FILE).is_file() else None


def read_log(folder: Traversable, target: Target) -> TuneLog:
    """Read a tuning log; see `find_log` for the errors."""
    environment = read_environment(folder, target)
    best = _read(folder.joinpath(BEST_FILE), _Best)
    return TuneLog(environment, best.kernels)


def read_environment(folder: Traversable, target: Target) -> TuningEnvironment:
    """Read where a log was measured, and refuse another target's."""
    environment = _read(folder.joinpath(ENVIRONMENT_FILE), TuningEnvironment)
    if environment.target != target.id:
        raise TuneLogError(
            f"the tuning log {folder} is for {environment.target}, not {target.id}; "
            "name another folder with --tune-log"
        )
    return environment


def write_environment(folder: Path, environment: TuningEnvironment) -> None:
    """Write where a log is measured."""
    _write(folder / ENVIRONMENT_FILE, environment)


def write_best(folder: Path, found: BestSchedule) -> None:
    """Add what was found for a kernel, in place of what was found before."""
    path = folder / BEST_FILE
    known = _read(path, _Best).kernels if path.exists() else ()
    kept = [best for best in known if best.kernel != found.kernel]
    _write(path, _Best(tuple(sorted([*kept, found], key=lambda best: best.kernel))))


def _read(file: Traversable, cls: type[T]) -> T:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as exc:
        raise TuneLogError(
            f"no tuning log in {file}: {exc.strerror}; make one with bnn-tvm tune"
        ) from exc
    except (ValueError, RecursionError) as exc:
        raise TuneLogError(f"the tuning log {file} is damaged ({exc}); tune again") from exc
    return decode(cls, data, f"the tuning log {file}", TuneLogError)


def _write(path: Path, value: object) -> None:
    text = json.dumps(encode(value), indent=1) + "\n"
    write_atomically(path, text.encode())
