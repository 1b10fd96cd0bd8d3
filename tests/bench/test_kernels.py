"""The time of kernels by kind, from what JAX's profiler writes."""

import jax
import jax.numpy as jnp
import pytest
from jax.profiler import ProfileData

from lift_jax.bench import kernels

NAMES = ("nvjet_tst_256x128", "loop_convert_fusion_3", "loop_convert_fusion_12", "fusion.4.1", "fusion")


def line(name: str, *runs: tuple[int, int]) -> str:
    """A line of a profile, of events with a name's index and a duration in microseconds."""
    events = "".join(f"events {{ metadata_id: {index} duration_ps: {10**6 * duration} }} " for index, duration in runs)
    return f'lines {{ name: "{name}" {events} }}'


def plane(name: str, *lines: str) -> str:
    names = "".join(
        f'event_metadata {{ key: {index} value {{ id: {index} name: "{each}" }} }} ' for index, each in enumerate(NAMES)
    )
    return f'planes {{ name: "{name}" {names} {" ".join(lines)} }}'


def test_streams_of_gpus_are_counted_and_what_they_belong_to_is_not(tmp_path):
    first = plane(
        "/device:GPU:0",
        line("Stream #13(Compute)", (0, 500), (1, 20), (2, 30)),
        line("Stream #14(MemcpyH2D)", (3, 7)),
        line("XLA Modules", (0, 10_000)),
    )
    text = (
        first + plane("/device:GPU:1", line("Stream #13(Compute)", (4, 3))) + plane("/host:CPU", line("tf_XLA", (4, 9)))
    )
    (tmp_path / "host.xplane.pb").write_bytes(ProfileData.text_proto_to_serialized_xspace(text))
    found = kernels.read(tmp_path)
    assert {name: count for name, (_, count) in found.items()} == {
        "nvjet_tst_256x128": 1,
        "loop_convert_fusion": 2,
        "fusion": 2,
    }
    seconds = {name: seconds for name, (seconds, _) in found.items()}
    assert seconds == pytest.approx({"nvjet_tst_256x128": 500e-6, "loop_convert_fusion": 50e-6, "fusion": 10e-6})


def test_kernels_of_this_machine_are_seen(tmp_path):
    function = jax.jit(lambda x: jnp.cumsum(jnp.sin(x @ x), axis=0))
    x = jnp.ones((300, 300))
    function(x).block_until_ready()
    found = kernels.spent(lambda: function(x).block_until_ready(), 3)
    assert found and all(seconds > 0 and count >= 3 for seconds, count in found.values()), found
