"""How many images a batch has, and how many of them to run at a time."""

from __future__ import annotations

import math

from tvm import DataType, relax
from tvm.ir import IRModule

from bnn_tvm.target import CudaTarget, Target

from .dataflow import MAIN, arguments, dtype_of, main_bindings, shape_of

# More calls than these, of all kernels for each part of a batch, take long to compile.
_MOST_PARTS = 64


def batch_of(mod: IRModule) -> int:
    """Count the images of a batch: the extent that axis 0 of all inputs has; 1 if they differ."""
    extents = {shape_of(param)[:1] for param in mod[MAIN].params}
    return next(iter(extents))[0] if len(extents) == 1 and () not in extents else 1


def images_that_fit(lowered: IRModule, target: Target) -> int:
    """Choose how many images to run at a time.

    Parameters
    ----------
    lowered : IRModule
        Kernels for whole batches.
    target : Target

    Returns
    -------
    int
        A divisor of the batch: the largest of which no kernel reads and writes more activations
        than the cache of one core holds, but not so few that there are very many parts. The whole
        batch on a GPU, which is slow on little work, and where no such cache is known.
    """
    batch, cache = batch_of(lowered), 1024 * target.l2_kib
    if isinstance(target, CudaTarget) or not cache:
        return batch
    image = max(map(_activation_bytes, main_bindings(lowered)), default=0) / batch
    divisors = [d for d in range(1, batch + 1) if batch % d == 0 and batch // d <= _MOST_PARTS]
    return max((d for d in divisors if d * image <= cache), default=divisors[0])


def _activation_bytes(binding: relax.VarBinding) -> int:
    if not isinstance(binding.value, relax.Call):
        return 0
    read = [arg for arg in arguments(binding.value) if isinstance(arg, relax.Var)]
    return sum(map(_nbytes, [*read, binding.var]))


def _nbytes(var: relax.Var) -> int:
    """Size of a tensor, or of all tensors of a tuple; 0 of anything else."""
    types = var.ty.fields if isinstance(var.ty, relax.TupleType) else [var.ty]
    tensors = [relax.Var("field", ty) for ty in types if isinstance(ty, relax.TensorType)]
    return sum(math.prod(shape_of(tensor)) * _itemsize(dtype_of(tensor)) for tensor in tensors)


def _itemsize(dtype: str) -> int:
    return -(-DataType(dtype).bits // 8)
