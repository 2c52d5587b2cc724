"""What is trained of a model, how its base comes back, and what is made and written of trained weights."""
