"""Models on disk: where a folder is, what its configuration says, its tensors and its text."""
