"""What training takes: memory, FLOPs and energy, estimated beforehand or measured."""
