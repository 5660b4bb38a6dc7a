"""The Llama family on a CPU: one compiled program a step, run by a small team of threads.

====================  ==============================================================================================
`vector`              LLVM vector code as numba intrinsics: the multiply-accumulate tile
`bits`                floats as their bits and back
`atomic`              what threads share: atomic words, and the pause between two looks at one
`arithmetic`          exp, norms, softmax rows: scalar code with a fixed order of operations
`linear`              weights packed as panels for the tile, and matrix products over them
`attention`           paged attention: prefill and decode in one order
`program`             a step of the whole model
`barrier`             how the threads of a team meet inside a step, and sleep between steps
`team`                the threads that run the program together
`storage`             tensors as the arrays that compiled code reads
`weights`             a checkpoint, read layer by layer into panels
`batch`               what changes from step to step, in arrays that never move
`runner`              the `Runner` that ties these together
`startup`             from a folder to a runner that is warm
====================  ==============================================================================================

Why a program of our own: on a CPU without bfloat16 instructions a library's bfloat16 product of few rows is an order of
magnitude slower than reading the weights; and a result must not depend on what else is in the batch. Here every number
is the end of one chain of operations in one order, whatever the number of rows and threads: exactness costs nothing.
"""
