"""Bad inputs by the thousand: what a person's own files may hold, and what the program must make of it.

python -m lift_jax.bench.abuse [--count 1000] [--seed 0] [--kinds text_files,images] [--only KIND:NUMBER]
"""
