"""Names of kernels' stages and of their attribute; schedules find blocks by them."""

KERNEL = "bnn.kernel"
"""Attribute of a PrimFunc: the kind of kernel, such as ``bitserial_conv2d``."""

ELEMENTWISE = "elementwise"
"""The kind of a kernel without an anchor."""

PADDED = "padded"
"""The input with its border, in scratch memory."""

ACCUMULATE = "accumulate"
"""The reduction: a sum of products, of disagreeing bits, or a pooling."""

WINDOWS = "windows"
"""The bits of each window as a row of a matrix."""

ONES = "ones"
"""How many bits of each window are 1."""

SUMS = "sums"
"""What was accumulated, as a matrix of rows and columns."""

DIVIDED = "divided"
"""The places of each row, those together that are some apart."""

TRANSFORMED = "transformed"
"""Data at the points where a convolution is computed with fewer multiplications."""

COMBINED = "combined"
"""Results read off the sums at those points."""

NARROWED = "narrowed"
"""Maxima along each row of what the kernel computes."""

POOLED = "pooled"
"""The maxima of those of some rows, or sums of windows of what the kernel computes."""

PARTIAL = "partial"
"""Sums of a part of the reduction in a narrower type, which `ACCUMULATE` adds up."""

COMMON = "common"
"""Numbers that several outputs are computed from, in registers."""

VALUE = "value"
"""What a sign is taken of, one number a bit to pack; computed in registers."""

PACK = "pack"
"""Words of packed signs, an output; the names of further ones start like this."""

RESULT = "result"
"""Numbers, an output; the names of further ones start like this."""

NUM_OUTPUTS = "bnn.num_outputs"
"""Attribute of a PrimFunc: how many of its last parameters it writes."""

WEIGHT = "weight"
"""The parameter that holds a layer's weights, packed or blocked."""

SKIPPED = "skipped"
"""The parameter that sums start with: what the padding counts for that a layer does not read."""
