"""Training and evaluating recipes: plain torch and transformers, with Ray in a few files only."""
