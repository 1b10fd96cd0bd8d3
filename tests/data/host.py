"""One of several hosts, as a process of its own: writes its batches into a file each, from a saved state or the start.

python host.py FOLDER DATA HOST HOSTS WORKERS
"""

import json
import multiprocessing
import sys
from pathlib import Path

import numpy as np

from lift_jax.data import RandAugment, data_defaults, load, train_loader


def loader(root: str, host: int = 0, hosts: int = 1, workers: int = 0):
    """The training batches of a folder of images."""
    data = data_defaults()
    data.update(name="hosts", format="folder", root=root)
    train, _ = load(data)
    return train_loader(
        train, batch_size=8, seed=5, resolution=16, num_epochs=3, augment=RandAugment(1), fidelity="close",
        process_index=host, process_count=hosts, num_workers=workers,
    )  # fmt: skip


def main() -> None:
    """Writes STEP.npz, and after each the state from which a process that is started again goes on."""
    folder, root = Path(sys.argv[1]), sys.argv[2]
    batches = loader(root, *map(int, sys.argv[3:]))
    state = folder / "state.json"
    if state.exists():
        batches.set_state(json.loads(state.read_text()))
    for batch in batches:
        np.savez(folder / f"{batches.step - 1}.npz", **batch)  # pyright: ignore[reportArgumentType]
        part = folder / "state.part"
        children = [child.pid for child in multiprocessing.active_children()]
        part.write_text(json.dumps(batches.get_state() | {"workers": children}))
        part.replace(state)


if __name__ == "__main__":
    main()
