import jax.numpy as jnp
import numpy as np
import pytest
from pictures import bytes_dataset, encoded, picture
from PIL import Image
from sklearn.datasets import load_sample_image

from lift_jax.data import test_loader, views
from lift_jax.errors import UserError
from lift_jax.models import image_input

SIZES = [(20, 20), (20, 27), (27, 20), (20, 30), (20, 100), (33, 31)]


def dataset(count: int = 23):
    """Images of several aspect ratios, losslessly encoded."""
    pictures = [picture(*SIZES[seed % len(SIZES)], seed) for seed in range(count)]
    return bytes_dataset([encoded(each, "PNG") for each in pictures]), pictures


def loader(data, **changes):
    return test_loader(data, **{**dict(batch_size=4, resolution=12, expand=3, mode="fivecrop"), **changes})


@pytest.mark.parametrize("hosts, workers", [(1, 0), (2, 0), (4, 0), (1, 1)])
def test_every_example_comes_once_over_all_hosts(hosts, workers):
    data, _ = dataset()
    seen, examples = [], 0
    for host in range(hosts):
        part = loader(data, process_index=host, process_count=hosts, num_workers=workers)
        examples += part.num_examples
        for batch in part:
            assert len(batch["image"]) == 4
            assert (batch["index"][~batch["mask"]] == -1).all()
            seen += batch["index"][batch["mask"]].tolist()
    assert sorted(seen) == list(range(23)) and examples == 23


@pytest.mark.parametrize("mode", ["plain", "center", "fivecrop", "tencrop"])
def test_batched_views_are_those_of_each_image(mode):
    data, pictures = dataset()
    for batch in loader(data, mode=mode):
        image, corners = jnp.asarray(batch["image"]), jnp.asarray(batch["corners"])
        result = np.asarray(
            image_input.cut(image, corners, jnp.asarray(batch["transposed"]), jnp.asarray(batch["flipped"]), 12)
        )
        for row in np.flatnonzero(batch["mask"]):
            entry = views.prepare_test(pictures[batch["index"][row]], 12, 3, mode, "bilinear")
            for view, ((top, left), flipped) in enumerate(zip(entry["corners"], entry["flipped"], strict=True)):
                piece = entry["image"][top : top + 12, left : left + 12]
                piece = piece.swapaxes(0, 1) if entry["transposed"] else piece
                np.testing.assert_array_equal(result[row, view], piece[:, ::-1] if flipped else piece)


def test_a_second_pass_and_the_bytes_of_an_image():
    data, _ = dataset(6)
    each = loader(data)
    first, second = list(each), list(each)
    assert [batch["index"].tolist() for batch in first] == [batch["index"].tolist() for batch in second]
    sizes = [batch["image"][0].nbytes for batch in first for _ in range(batch["mask"].sum())]
    assert each.bytes_per_image == pytest.approx(np.mean(sizes))
    assert each.num_views == 5


def test_bad_images_stop_or_are_left_out(caplog):
    data, _ = dataset(9)
    data.source.contents[4] = b"no image" * 30  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"pictures/4\.jpg is no image"):
        list(loader(data))
    lenient = loader(data, skip_bad_images=True)
    seen = np.concatenate([batch["index"][batch["mask"]] for batch in lenient])
    assert sorted(seen.tolist()) == [0, 1, 2, 3, 5, 6, 7, 8]
    assert lenient.skipped == ["pictures/4.jpg"]
    assert "1 image of pictures could not be decoded and was skipped: pictures/4.jpg is no image" in caplog.text


@pytest.mark.parametrize("hosts, workers", [(1, 0), (1, 1), (3, 0), pytest.param(3, 1, marks=pytest.mark.slow)])
def test_hosts_without_a_readable_image_end_together(hosts, workers):
    def batches(contents, **options):
        parts = [
            loader(bytes_dataset(contents), skip_bad_images=True, process_index=host, process_count=hosts, **options)
            for host in range(hosts)
        ]
        return [list(part) for part in parts], parts

    good = encoded(picture(20, 20))
    found, _ = batches([good, b"bad", b"bad"], num_workers=workers)
    assert [sum(batch["mask"].sum() for batch in part) for part in found] == [1] + [0] * (hosts - 1)
    with pytest.raises(
        UserError, match=r"Not one of the 3 images of pictures can be read; .*pictures/0\.jpg is no image"
    ):
        batches([b"bad"] * 3, num_workers=workers)
    found, parts = batches([b"bad"] * 3, num_workers=workers, none_readable=True)
    assert not any(found) and sorted(i for part in parts for i in part.problems) == [0, 1, 2]


def test_a_host_without_examples_ends():
    parts = [list(loader(dataset(2)[0], process_index=host, process_count=4)) for host in range(4)]
    assert [len(part) for part in parts] == [1, 1, 0, 0]


def test_scaled_decoding_of_test_images():
    photograph = np.asarray(Image.fromarray(load_sample_image("china.jpg")).resize((1280, 854)))
    data = bytes_dataset([encoded(photograph, quality=95)])
    whole, scaled = (next(iter(loader(data, resolution=96, fidelity=each))) for each in ("exact", "scaled"))
    assert whole["image"].shape == scaled["image"].shape
    np.testing.assert_array_equal(whole["corners"], scaled["corners"])
    difference = np.abs(whole["image"].astype(int) - scaled["image"])
    assert difference.any() and difference.mean() < 1


def test_unknown_mode_is_refused_at_once():
    with pytest.raises(UserError, match="tencrop"):
        loader(dataset(1)[0], mode="twelvecrop")
