"""Devices and processes: where arrays lie, what processes tell each other, and how they stop."""
