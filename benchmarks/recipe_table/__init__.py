"""A tabular benchmark: the recipes of a grid, trained on several seeds, and studies replayed on them."""
