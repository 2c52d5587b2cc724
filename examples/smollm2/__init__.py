"""A study of a real language model on real text tasks: what `examples/smollm2.yaml` needs."""
