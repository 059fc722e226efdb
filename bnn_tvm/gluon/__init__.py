"""bnn_tvm.gluon."""
