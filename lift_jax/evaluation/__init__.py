"""Evaluation over augmented views, the metrics, and the geometry of features."""
