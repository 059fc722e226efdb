"""bnn_tvm.package."""
