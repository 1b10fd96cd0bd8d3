"""How often Python collects its garbage in a program of the project."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_python_looks_less_often_and_still_finds_circles():
    code = """
import gc, weakref
from lift_jax.cluster import garbage

class Node:
    pass

def circle():
    node = Node()
    node.itself = node
    return weakref.ref(node)

before, present = gc.get_threshold()[0], [Node() for _ in range(5)]
garbage.collect_rarely()
garbage.spare_present()
lost = circle()
kept = [[] for _ in range(2 * gc.get_threshold()[0])]  # enough of new objects
print(gc.get_threshold()[0] > before, gc.get_freeze_count() > 5, lost() is None)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "True"]
