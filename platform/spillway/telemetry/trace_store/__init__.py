"""The embedded trace store: one SQLite file in the state folder, written by gateways and ops, read by ops."""
