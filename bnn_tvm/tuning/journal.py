"""Every measurement of a tuning log, a line each, written as soon as it is made.

Lines are only ever added, and synchronized to the disk. A process that is killed leaves half a line
at most, which the next one cuts off.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ..errors import TuneLogError
from ..package.fields import decode, encode

JOURNAL_FILE = "measurements.jsonl"


@dataclass(frozen=True)
class Measurement:
    """One schedule of one kernel, measured.

    Attributes
    ----------
    kernel : str
        Its signature.
    rule : str
    choices : dict of str to str
    seconds : tuple of float
        Samples of one call; none if it could not be built or run.
    error : str
        Why not; else empty.
    """

    kernel: str
    rule: str
    choices: dict[str, str]
    seconds: tuple[float, ...]
    error: str


class Journal:
    """The measurements in a folder, held by one process at a time.

    Parameters
    ----------
    folder : Path
        Exists.

    Attributes
    ----------
    measurements : list of Measurement
        In the order in which they were made.

    Raises
    ------
    TuneLogError
        If another process holds the journal, or a whole line of it is damaged.
    """

    def __init__(self, folder: Path):
        self._path = folder / JOURNAL_FILE
        self._file = self._path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise TuneLogError(
                f"another process is tuning in {folder}; wait for it or name another folder"
            ) from exc
        self.measurements = self._read()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def append(self, measurements: Sequence[Measurement]) -> None:
        """Add measurements; they are on the disk when this returns."""
        lines = [json.dumps(encode(item)) + "\n" for item in measurements]
        self._file.write("".join(lines).encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.measurements.extend(measurements)

    def _read(self) -> list[Measurement]:
        self._file.seek(0)
        *lines, torn = self._file.read().split(b"\n")
        if torn:
            self._file.truncate(sum(len(line) + 1 for line in lines))
        return [self._parse(line, number) for number, line in enumerate(lines, 1)]

    def _parse(self, line: bytes, number: int) -> Measurement:
        where = f"line {number} of {self._path}"
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as exc:
            raise TuneLogError(
                f"{where} is damaged ({exc}); delete that line or name another folder"
            ) from exc
        return decode(Measurement, data, where, TuneLogError)
