"""Which candidate is chosen, by what rule, on what evidence, and how sure that is."""
