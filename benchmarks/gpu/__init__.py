"""What NVIDIA GPUs do, beside PyTorch and cuBLAS in the same run."""
