"""Device code in Triton. Each kernel takes pointers, sizes and strides; what calls them lies one folder up.

All of it also runs on a CPU through Triton's interpreter (`TRITON_INTERPRET=1`, set before Triton is first imported),
which is how its numerics are tested where there is no GPU.

Two rules hold everywhere. A result depends on its own row alone: tiles, splits and orders of reduction are fixed by the
model, never by the batch. And where two kernels must agree to the bit, what they share is written once, with products
and sums that leave a compiler nothing to contract (`tl.fma` where fusion is meant).
"""
