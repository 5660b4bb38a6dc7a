"""The Llama family on a CPU: one compiled program a step, run by a small team of threads.

====================  ==============================================================================================
`vector`              LLVM vector code as numba intrinsics: the multiply-accumulate tile, bit casts, atomics
`arithmetic`          exp, norms, softmax rows: scalar code with a fixed order of operations
`panels`              weights packed for the tile
`linear`              matrix products over panels
`attention`           paged attention: prefill and decode in one order
`program`             a step of the whole model
`team`                threads that run the program together, and their barrier
`batch`               what changes from step to step, in arrays that never move
`runner`              the `Runner` that ties these together
====================  ==============================================================================================

Why a program of our own: on a CPU without bfloat16 instructions a library's bfloat16 product of few rows is an order of
magnitude slower than reading the weights; and a result must not depend on what else is in the batch. Here every number
is the end of one chain of operations in one order, whatever the number of rows and threads: exactness costs nothing.
"""
