"""Measurements that can be repeated: each module is a command and prints ratios measured side by side in one run."""
