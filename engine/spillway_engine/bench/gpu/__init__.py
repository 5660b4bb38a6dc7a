"""What the engine does on a GPU, against what the GPU can do: ceilings, decode, prefill, serving, peers."""
