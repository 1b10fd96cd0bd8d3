"""Losses, the optimizer, the head's start, the training step and the loop over it."""
