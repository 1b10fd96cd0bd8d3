"""What `lift_jax doctor` finds."""

import contextlib
import json
import re
import socket

import pytest

from lift_jax import doctor
from lift_jax.bench import checks
from lift_jax.bench.checks import Finding


def broken() -> Finding:
    raise RuntimeError("the driver is too old")


def test_this_machine_is_ready(capsys):
    assert doctor.main([]) == 0
    out = capsys.readouterr().out
    lines = dict(re.findall(r"^(?:ok|note) +(\w+) +(.*)", out, re.M))
    assert list(lines) == list(checks.CHECKS)
    assert "jax " in lines["packages"] and "cpu" in lines["devices"]
    losses = re.findall(r"\d+\.\d\d\b", lines["training"])
    assert float(losses[-1]) < float(losses[-2])
    assert out.endswith("This machine is ready.\n")


def test_a_check_that_fails_is_a_finding_and_the_others_go_on():
    found = dict(checks.run_all({"broken": broken, "Python": checks.python}))
    assert found["broken"].state == "wrong" and "the driver is too old" in found["broken"].said
    assert found["broken"].remedy and found["Python"].state == "ok"


def test_something_wrong_ends_with_status_1(capsys, monkeypatch):
    monkeypatch.setattr(checks, "CHECKS", {"broken": broken})
    assert doctor.main([]) == 1
    assert "wrong" in capsys.readouterr().out
    assert doctor.main(["--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ready"] is False and [each["state"] for each in told["checks"]] == ["wrong"]


def test_the_hub_is_reachable_if_its_port_listens(monkeypatch):
    monkeypatch.setattr(checks.constants, "HF_HUB_OFFLINE", False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert checks.hub(address) == Finding("ok", f"{address} can be reached")
    closed = checks.hub(address)
    assert closed.state == "note" and "refused" in closed.said and "HF_ENDPOINT" in closed.remedy


def test_a_hub_that_does_not_answer_holds_nobody_up(monkeypatch):
    monkeypatch.setattr(checks.constants, "HF_HUB_OFFLINE", False)
    with contextlib.ExitStack() as opened:
        server = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        host, port = server.getsockname()
        for _ in range(4):  # more than wait there are not let in
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((host, port))
        found = checks.hub(f"http://{host}:{port}", seconds=0.3)
    assert found.state == "note" and re.search("no answer in 0.3 s|timed out", found.said)


def test_no_connection_is_tried_where_the_hub_is_switched_off(monkeypatch):
    monkeypatch.setattr(checks.constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in checks.hub("http://127.0.0.1:1").said


@pytest.mark.parametrize(("requirement", "met"), [("numpy>=2", True), ("numpy<2", False), ("no-such-package", False)])
def test_a_package_of_another_version_is_not_what_is_needed(requirement, met):
    assert checks._is_met(checks.Requirement(requirement)) is met
