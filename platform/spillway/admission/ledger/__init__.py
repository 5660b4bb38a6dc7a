"""Quotas: one atomic script in Redis, its twin in this process, and what chooses between the two."""
