"""The study file: its sections, how it is read, and how tasks are found by their names."""
