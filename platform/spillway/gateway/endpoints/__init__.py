"""The endpoints that generate: each turns its request into a plan, and an answer into its own form."""
