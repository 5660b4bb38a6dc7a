"""The Llama family on a GPU: Triton kernels, recorded as graphs, with the next step queued before this one is over.

====================  ==============================================================================================
`kernels`             device code in Triton: attention, products, rows, logits, choice, logprobs
`tiles`               sizes of tiles, splits and parts: what the order of every sum hangs on
`linear`              products whose rows do not depend on how many there are
`work`                a step's attention shared out in tasks
`words`, `inputs`     what changes from step to step, as one stretch of words
`weights`             a checkpoint on the device
`buffers`             the device's memory beside the weights: cache, activations, block tables
`choosing`            from logits to tokens
`program`             a step of the whole model as launches
`device`              the one seam to CUDA: memory, copies, events, graphs
`ring`, `landing`     pinned host memory for copies in and out
`sampler`, `staging`  the host's half: slots, and steps as words
`graphs`              which batch sizes are recorded
`ahead`               what is queued ahead, and what of it a plan can use
`runner`              the `Runner` that ties these together
`memory`              blocks for the cache from what the largest step left
`failure`, `nvml`     what the device's errors mean; what the driver says of the GPU
`startup`             from a folder to a runner that is warm
====================  ==============================================================================================

Everything but `device` runs without a GPU, kernels through Triton's interpreter. Importing this package imports Triton:
only whoever asked for `cuda` does.
"""
