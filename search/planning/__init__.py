"""What a study will train and what that takes of machines, found out without starting anything."""
