"""What worker groups are asked for, where they fit, and what each does with its model; without Ray."""
