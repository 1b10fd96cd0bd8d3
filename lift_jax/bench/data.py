"""Images a second of the input pipeline: `python -m lift_jax.bench.data`.

Decodes JPEG files of 500 x 375 pixels, made from the photographs that scikit-learn ships, and makes training batches
(random resized crop to 224) and test batches (five crops) of them, on one core. Beside it, if torch and torchvision are
installed, torchvision's pipeline on the same files, and as the limit plain decoding. The rounds alternate, and the best
of each counts, in seconds of processor time, so that other programs on the machine disturb little. With --workers, two
worker processes are compared with one, in wall time. With --decoders, decoding alone by every JPEG decoder that is
installed (Pillow, simplejpeg, OpenCV, imagecodecs, PyTurboJPEG). With --fidelities, what each costs and how far its
training crops are from the exact ones, also for photographs of four times the pixels. With --views, the bytes that five
crops of an image take on their way to the device.
"""

import argparse
import contextlib
import functools
import io
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from lift_jax.data import data_defaults, images, test_loader, train_loader, transforms, views
from lift_jax.data.dataset import Dataset
from lift_jax.data.resampling import FIDELITIES

HEIGHT, WIDTH, RESOLUTION, EXPAND, BATCH = 375, 500, 224, 24, 64
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Photographs:
    """JPEG files in memory, repeated to any number."""

    def __init__(self, count: int, enlarge: int = 1):
        self.files = photographs(enlarge)
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> bytes:
        return self.files[index % len(self.files)]


def photographs(enlarge: int = 1) -> list[bytes]:
    """Cuts sixteen pieces of 500 x 375 pixels out of two photographs, and encodes them as JPEG of quality 90.

    Args:
        enlarge: factor by which their sides are enlarged before they are encoded.
    """
    from sklearn.datasets import load_sample_image

    files = []
    for name in ("china.jpg", "flower.jpg"):
        photograph = load_sample_image(name)
        for index in range(8):
            top, left = 6 * index, 17 * index
            buffer = io.BytesIO()
            cutout = Image.fromarray(photograph[top : top + HEIGHT, left : left + WIDTH])
            cutout = cutout.resize((enlarge * WIDTH, enlarge * HEIGHT), Image.Resampling.BICUBIC)
            cutout.save(buffer, "JPEG", quality=90)
            files.append(buffer.getvalue())
    return files


def lift_jax_batches(
    count: int, workers: int, five_crops: bool, fidelity: str = data_defaults().fidelity, enlarge: int = 1
) -> Any:
    """Makes batches by the package's own loaders; test images always have the default fidelity."""
    data = Dataset("photographs", Photographs(count, enlarge), np.zeros(count, np.int32), ("photograph",))
    if five_crops:
        return test_loader(
            data, batch_size=BATCH, resolution=RESOLUTION, expand=EXPAND, mode="fivecrop", num_workers=workers
        )
    return train_loader(
        data, batch_size=BATCH, seed=0, resolution=RESOLUTION, num_epochs=1, fidelity=fidelity, num_workers=workers
    )


def torchvision_batches(count: int, five_crops: bool) -> Iterable[Any]:
    """Does the same work as the reference implementation does, with torchvision on Pillow images."""
    import torch  # pyright: ignore[reportMissingImports]
    from torchvision import transforms  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(1)
    normalize = transforms.Normalize(MEAN, STD)
    to_tensor = transforms.ToTensor()
    if five_crops:
        steps = [
            transforms.Resize(RESOLUTION + EXPAND),
            transforms.FiveCrop(RESOLUTION),
            transforms.Lambda(lambda crops: torch.stack([to_tensor(each) for each in crops])),
            normalize,
        ]
    else:
        steps = [transforms.RandomResizedCrop(RESOLUTION), transforms.RandomHorizontalFlip(), to_tensor, normalize]
    transform, source = transforms.Compose(steps), Photographs(count)

    class Images(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return count

        def __getitem__(self, index: int) -> tuple[Any, int]:
            return transform(Image.open(io.BytesIO(source[index])).convert("RGB")), 0

    return torch.utils.data.DataLoader(Images(), BATCH, shuffle=not five_crops)


def decoded(count: int) -> Iterable[Any]:
    """Decodes images, and does nothing else with them."""
    source = Photographs(count)
    return (images.decode(source[index]) for index in range(count))


def seconds(batches: Iterable[Any], clock: Callable[[], float]) -> float:
    """Measures the seconds that it takes to go through the batches."""
    start = clock()
    for _ in batches:
        pass
    return clock() - start


def measure(cases: dict[str, Callable[[], Iterable[Any]]], rounds: int) -> dict[str, float]:
    """Measures the least processor time of each case over alternating rounds, in seconds."""
    best = dict.fromkeys(cases, float("inf"))
    for _ in range(rounds):
        for name, batches in cases.items():
            best[name] = min(best[name], seconds(batches(), time.process_time))
    return best


def one_core(count: int, rounds: int) -> None:
    """Prints images a second of one core, and the ratio to torchvision's."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
    cases: dict[str, Callable[[], Iterable[Any]]] = {
        "decoding alone": lambda: decoded(count),
        "lift_jax, training crops": lambda: lift_jax_batches(count, 0, False),
        "lift_jax, five crops": lambda: lift_jax_batches(count, 0, True),
    }
    try:
        import torchvision  # noqa: F401  # pyright: ignore[reportMissingImports]

        cases["torchvision, training crops"] = lambda: torchvision_batches(count, False)
        cases["torchvision, five crops"] = lambda: torchvision_batches(count, True)
    except ImportError:
        print("torchvision is not installed, so nothing is compared with it.")
    best = measure(cases, rounds)
    for name, took in best.items():
        print(f"{name:30s} {count / took:8.0f} images a second of one core ({1e3 * took / count:.2f} ms an image)")
    for kind in ("training crops", "five crops"):
        if f"torchvision, {kind}" in best:
            ratio = best[f"torchvision, {kind}"] / best[f"lift_jax, {kind}"]
            print(f"{kind}: {ratio:.2f} times torchvision's")


def workers(count: int, rounds: int) -> None:
    """Prints images a second of one and two worker processes, once they are running."""
    best = dict.fromkeys((1, 2), float("inf"))
    batches = -(-count // BATCH)
    for _ in range(rounds):
        for processes in best:
            warm = 4 * processes  # Starting the processes is not counted, nor is stopping them.
            loader = lift_jax_batches((warm + batches) * BATCH + 1, processes, False)
            iterator = iter(loader)
            for _ in itertools.islice(iterator, warm):
                pass
            best[processes] = min(best[processes], seconds(itertools.islice(iterator, batches), time.monotonic))
            loader.close()
    for processes, took in best.items():
        print(f"{processes} worker{'s' if processes > 1 else ''}: {batches * BATCH / took:.0f} images a second")
    print(f"2 workers: {best[1] / best[2]:.2f} times one")


def decoders(rounds: int) -> None:
    """Prints the time of every decoder that is installed, and whether its pixels are Pillow's."""
    files = photographs()
    reference = [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]
    functions = dict(_decoders())
    best = measure({name: functools.partial(map, each, files * 16) for name, each in functions.items()}, rounds)
    for name, took in sorted(best.items(), key=lambda item: item[1]):
        same = all((functions[name](file) == pixels).all() for file, pixels in zip(files, reference, strict=True))
        pixels = "the pixels of Pillow" if same else "other pixels"
        print(f"{name:12s} {1e3 * took / (16 * len(files)):.2f} ms an image, {pixels}")


def _decoders() -> Iterator[tuple[str, Callable[[bytes], np.ndarray]]]:
    yield "Pillow", lambda file: np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
    with contextlib.suppress(ImportError):
        import simplejpeg

        yield "simplejpeg", lambda file: simplejpeg.decode_jpeg(file, "RGB")
    with contextlib.suppress(ImportError):
        import cv2  # pyright: ignore[reportMissingImports]

        cv2.setNumThreads(1)
        yield "OpenCV", lambda file: cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR_RGB)
    with contextlib.suppress(ImportError):
        import imagecodecs  # pyright: ignore[reportMissingImports]

        yield "imagecodecs", imagecodecs.jpeg8_decode
    with contextlib.suppress(ImportError, RuntimeError):  # It needs the system's libturbojpeg besides.
        import turbojpeg  # pyright: ignore[reportMissingImports]

        turbo = turbojpeg.TurboJPEG()
        yield "PyTurboJPEG", lambda file: turbo.decode(file, pixel_format=turbojpeg.TJPF_RGB)


def fidelities(count: int, rounds: int) -> None:
    """Prints what each fidelity costs, and its differences from the exact pixels."""
    for enlarge in 1, 2:
        cases = {each: functools.partial(lift_jax_batches, count, 0, False, each, enlarge) for each in FIDELITIES}
        best = measure(cases, rounds)
        exact = next(cases["exact"]())["image"].astype(int)
        print(f"training crops of {enlarge * WIDTH} x {enlarge * HEIGHT} pixels:")
        for name, took in best.items():
            off = np.abs(next(cases[name]())["image"] - exact)
            print(
                f"  {name:7s} {1e3 * took / count:.2f} ms an image; grey levels from the exact ones: "
                f"mean {off.mean():.3f}, 99 of 100 at most {np.quantile(off, 0.99):.0f}, largest {off.max()}"
            )


def bytes_of_views() -> None:
    """Prints what five crops of images of several shapes move, and what their different pixels alone would."""
    floats = 5 * 4 * 3 * RESOLUTION**2
    print(f"Per cent of five float32 views, {floats:,} bytes: the canvas; the different pixels of the crops alone")
    for height, width in (500, 500), (375, 500), (400, 600), (1080, 1920), (500, 1000), (300, 900):
        line = f"{width} x {height}".ljust(11)
        for expand in 4, EXPAND, 48:
            image = np.zeros((height, width, 3), np.uint8)
            canvas = views.prepare_test(image, RESOLUTION, expand, "fivecrop", "bilinear")["image"]
            seen = np.zeros(transforms.resized_shape(height, width, RESOLUTION + expand), bool)
            for top, left in transforms.five_corners(*seen.shape, RESOLUTION):
                seen[top : top + RESOLUTION, left : left + RESOLUTION] = True
            line += f"  expand {expand}: {100 * canvas.nbytes / floats:4.1f}, {300 * seen.sum() / floats:4.1f}"
        print(line)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=512, help="images a round")
    parser.add_argument("--rounds", type=int, default=3)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--workers", action="store_true", help="compare one with two worker processes")
    kind.add_argument("--decoders", action="store_true", help="compare JPEG decoders")
    kind.add_argument("--fidelities", action="store_true", help="compare config.data.fidelity's values")
    kind.add_argument("--views", action="store_true", help="bytes of five crops")
    given = parser.parse_args()
    if given.workers:
        workers(given.count, given.rounds)
    elif given.decoders:
        decoders(given.rounds)
    elif given.fidelities:
        fidelities(given.count, given.rounds)
    elif given.views:
        bytes_of_views()
    else:
        one_core(given.count, given.rounds)
