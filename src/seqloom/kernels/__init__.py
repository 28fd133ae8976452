"""Kernels: what torch has no fast operator for. Each has a twin in torch's operators, which computes the same."""
