"""Compile binary Gluon networks to bit-packed, fused TVM kernels."""
