"""bnn_tvm.importer."""
