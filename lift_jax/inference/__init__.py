"""A trained run as a classifier of new images."""
