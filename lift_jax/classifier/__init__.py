"""A backbone, its tuners, a head and, where it is tuned, the text side, joined to one network."""
