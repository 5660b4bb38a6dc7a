"""What is refused under load, when it may come back, and what is degraded before anything is refused."""
