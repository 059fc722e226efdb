"""The command line: it parses arguments and prints results, nothing else."""

from .app import main

__all__ = ["main"]
