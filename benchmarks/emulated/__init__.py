"""Runs single kernels on emulated processors and counts the instructions that they execute."""
