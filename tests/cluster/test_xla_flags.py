"""Which flags of XLA the program sets."""

from pathlib import Path

import pytest

from lift_jax.cluster import xla_flags

FLAG = "--xla_gpu_enable_triton_gemm=false"


@pytest.fixture
def library(tmp_path) -> Path:
    """A library among whose constants is the flag's name."""
    file = tmp_path / "xla.so"
    file.write_bytes(b"\x7fELF\0xla_gpu_enable_triton_gemm\0xla_dump_to\0")
    return file


@pytest.mark.parametrize(
    "given, expected",
    [
        ("", FLAG),
        ("--xla_dump_to=a  --xla_dump_hlo_as_text", f"--xla_dump_to=a --xla_dump_hlo_as_text {FLAG}"),
        ("--xla_gpu_enable_triton_gemm=true", "--xla_gpu_enable_triton_gemm=true"),
        ("--xla_gpu_enable_triton_gemm_any=true", f"--xla_gpu_enable_triton_gemm_any=true {FLAG}"),
    ],
)
def test_a_flag_is_added_where_the_user_has_not_set_it(library, given, expected):
    environment = {"XLA_FLAGS": given} if given else {}
    xla_flags.add(environment, [library])
    assert environment == {"XLA_FLAGS": expected}


def test_a_flag_that_one_library_does_not_know_is_left_out(library, tmp_path):
    other = tmp_path / "other.so"
    other.write_bytes(b"\x7fELF\0xla_gpu_enable_triton_gemm_any\0")
    environment = {}
    xla_flags.add(environment, [library, other])
    assert environment == {}


def test_the_xla_that_is_installed_knows_the_flags():
    # Otherwise the flag was renamed, and the program would no longer set it.
    environment = {}
    xla_flags.add(environment, xla_flags._libraries("jaxlib"))
    assert environment == {"XLA_FLAGS": FLAG}


def test_on_a_machine_that_is_to_use_its_cpu_nothing_is_set():
    environment = {"JAX_PLATFORMS": "cpu"}
    xla_flags.set_for_gpus(environment)
    assert environment == {"JAX_PLATFORMS": "cpu"}
