"""bnn_tvm.kernels."""
