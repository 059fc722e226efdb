"""The state of a machine while something is measured on it: as far as Linux tells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_THERMAL = Path("/sys/class/thermal")
_CLOCK = Path("/sys/devices/system/cpu/cpu0/cpufreq")
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Condition:
    """One look at a machine; None where it does not tell.

    Attributes
    ----------
    celsius : float or None
        Temperature of the hottest zone.
    megahertz, max_megahertz : float or None
        Clock of the first core, now and at most.
    memory_bytes, peak_memory_bytes : int or None
        Resident memory of the process that runs the package, now and at its highest.
    """

    celsius: float | None
    megahertz: float | None
    max_megahertz: float | None
    memory_bytes: int | None
    peak_memory_bytes: int | None

    @classmethod
    def now(cls) -> Condition:
        """Look at this machine and this process."""
        zones = [_read_number(zone) for zone in sorted(_THERMAL.glob("thermal_zone*/temp"))]
        memory = _read_status()
        return cls(
            celsius=max((zone / 1e3 for zone in zones if zone is not None), default=None),
            megahertz=_kilo(_read_number(_CLOCK / "scaling_cur_freq")),
            max_megahertz=_kilo(_read_number(_CLOCK / "cpuinfo_max_freq")),
            memory_bytes=memory.get("VmRSS"),
            peak_memory_bytes=memory.get("VmHWM"),
        )


def _read_number(path: Path) -> int | None:
    # Sensors of devices that sleep give errors instead of numbers.
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _kilo(value: int | None) -> float | None:
    return None if value is None else value / 1e3


def _read_status() -> dict[str, int]:
    """Read the sizes in ``/proc/self/status``, in bytes."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return {}
    fields = (line.replace(":", " ").split() for line in lines)
    return {name: int(size) << 10 for name, size, *_ in (f for f in fields if f[2:] == ["kB"])}
