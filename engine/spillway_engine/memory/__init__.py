"""The paged cache as an account of blocks: who holds which, what they hold, and what may be shared."""
