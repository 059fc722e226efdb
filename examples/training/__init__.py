"""The parts of the training script."""
