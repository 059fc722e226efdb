"""The package file: its manifest, and how it is written and read."""

from .bundle import SUFFIX, Package
from .c_package import CPackage, load_package

__all__ = ["SUFFIX", "CPackage", "Package", "load_package"]
