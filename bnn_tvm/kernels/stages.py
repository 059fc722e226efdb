"""Names of kernels' stages and of their attribute; schedules find blocks by them."""

KERNEL = "bnn.kernel"
"""Attribute of a PrimFunc: the kind of kernel, such as ``bitserial_conv2d``."""

PADDED = "padded"
"""The input with its border, in scratch memory."""

ACCUMULATE = "accumulate"
"""The reduction: a sum of products, of disagreeing bits, or a pooling."""

PARTIAL = "partial"
"""Sums of a part of the reduction in a narrower type, which `ACCUMULATE` adds up."""

VALUE = "value"
"""What a sign is taken of, one number a bit to pack; computed in registers."""

PACK = "pack"
"""Words of packed signs, an output."""

RESULT = "result"
"""Numbers, an output."""

NUM_OUTPUTS = "bnn.num_outputs"
"""Attribute of a PrimFunc: how many of its last parameters it writes."""

WEIGHT = "weight"
"""The parameter that holds a layer's weights, packed or blocked."""
