"""What stands behind the sampler and the scheduler: several aims, breeding, fronts and halving by them."""
