"""The tree of errors and the exit code that the command line gives for each.

A message names the noun, what was allowed, and the next command to try.
"""

from __future__ import annotations


class BnnTvmError(Exception):
    """Base of every error that this package raises on purpose."""

    exit_code = 70


class InternalError(BnnTvmError):
    """A broken promise inside the compiler: a bug of ours, never the user's fault."""

    exit_code = 70


class UserError(BnnTvmError):
    """Something the user can mend; shown in one line without a traceback."""

    exit_code = 2


class ModelError(UserError):
    """The model cannot be read, or holds something that is not supported."""

    exit_code = 3


class TargetError(UserError):
    """The target is unknown, ill described, or not what this machine can run."""

    exit_code = 4


class ToolchainError(UserError):
    """A compiler, linker or optional Python package that the step needs is missing."""

    exit_code = 5


class DeviceError(UserError):
    """A device cannot be reached, was lost, or cannot run the package."""

    exit_code = 6


class DeviceUnreachableError(DeviceError):
    """Nothing answers at a board's or a tracker's address, or something else does."""


class DeviceBusyError(DeviceError):
    """Every board that would do is in use by others for longer than one wanted to wait."""


class DeviceLostError(DeviceError):
    """A board ended the connection, or vanished, while it was in use."""


class DeviceTimeoutError(DeviceError):
    """A board did not finish within the time that it was given."""


class UploadRefusedError(DeviceError):
    """A board does not take an upload: it is too large, or not what was sent."""


class WrongArchitectureError(DeviceError):
    """A package holds code for another architecture, or for instructions that a machine lacks."""


class WrongNumbersError(DeviceError):
    """A package gives other numbers on a board than it must."""


class PackageError(UserError):
    """A package file is missing, damaged, or of another schema version."""

    exit_code = 7


class InputError(UserError):
    """An input array has the wrong shape, dtype or file format."""

    exit_code = 8


class TuneLogWarning(UserWarning):
    """A tuning log is used that was measured in another environment."""


class TuneLogError(UserError):
    """A tuning log is damaged, of another machine or target, or does not fit a kernel."""

    exit_code = 9
