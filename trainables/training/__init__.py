"""The parts of an optimiser step, in one process or several."""
