"""Names of the stages that kernels are made of; schedules find blocks by them."""

PADDED = "padded"
"""The input with its border, in scratch memory."""

ACCUMULATE = "accumulate"
"""The reduction: a sum of products, of disagreeing bits, or a pooling."""

VALUE = "value"
"""What a sign is taken of, one number a bit to pack; computed in registers."""

PACK = "pack"
"""Words of packed signs, an output."""

RESULT = "result"
"""Numbers, an output."""
