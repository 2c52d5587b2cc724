"""What is kept of a study in its folder, and how it is read back."""
