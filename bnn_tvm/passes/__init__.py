"""bnn_tvm.passes."""
