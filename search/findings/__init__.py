"""What a study found, as numbers, rows and sentences for a reader."""
