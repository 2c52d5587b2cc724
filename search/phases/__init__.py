"""The phases of a running study, what they share, and what is shown of them while they last."""
