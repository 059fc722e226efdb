"""bnn_tvm.cli."""
