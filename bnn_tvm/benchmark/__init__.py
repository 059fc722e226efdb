"""bnn_tvm.benchmark."""
