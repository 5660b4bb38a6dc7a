"""Which tokens are computed next: the queue, the running set, and the decision of every step."""
