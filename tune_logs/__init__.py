"""Tuning logs, a folder a target: data only, written by ``bnn-tvm tune``."""
