"""The engine's benchmark: the models, the workload, the engines that we compare with, and the report."""
