"""A study's data before it is trained on: what is read, refused or left out, and encoded once."""
