"""The package file: its manifest, and how it is written and read."""

from .bundle import SUFFIX, Package

__all__ = ["SUFFIX", "Package"]
