"""The package file: its manifest, and how it is written and read."""
