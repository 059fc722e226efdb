"""Device code for NVIDIA GPUs, compiled ahead: the device needs its driver only."""
