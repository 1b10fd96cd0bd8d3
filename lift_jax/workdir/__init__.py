"""A run's folder: storage, checkpoints, logs, and what is written down about a run."""
