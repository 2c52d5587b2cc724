"""What can be trained, and how: roles, subsets, recipes and the space a search walks through.

Nothing here imports torch or Ray: the package sees parameter names, shapes and numbers only.
"""
