"""Samples and tasks, their division into splits, and the encoded form that models take."""
