"""The networks, with no word about tuning."""
