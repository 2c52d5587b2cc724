"""The commands, one a module: each adds its options and says what it does."""
