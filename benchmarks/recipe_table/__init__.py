"""A tabular benchmark: every recipe of a grid is trained on several seeds, so that studies can be replayed."""
