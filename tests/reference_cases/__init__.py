"""Reference cases: numbers of the paper authors' PyTorch implementation, and what they are compared with here.

A case is NAME.json (what was run, and its `kind`) and NAME.npz (inputs and expected outputs). Every kind has a module
here with a function `check(case)`.
"""
