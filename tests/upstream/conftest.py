from bnn_tvm.gluon import install

install()
