"""bnn_tvm.zoo."""
