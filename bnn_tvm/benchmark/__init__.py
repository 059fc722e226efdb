"""Measure packages, whole and layer by layer, and report what was measured."""
