"""kind = losses: values, and gradients with respect to the logits."""

import re

import jax

from lift_jax.training import losses
from reference_cases.case import Case, assert_close


def check(case: Case) -> None:
    options = {
        "scale": case.option("ldam_scale"),
        "max_margin": case.option("ldam_max_margin"),
        "gamma": case.option("focal_gamma"),
        "beta": case.option("cb_beta"),
        **case.option("lade"),
    }
    logits, labels, counts = (case.array(name) for name in ("logits", "labels", "class_counts"))
    values, gradients = case.group("loss"), case.group("grad")
    assert values and set(values) == set(gradients)
    for name, value in values.items():
        base, tau = re.fullmatch(r"(\w+?)(?:_tau([\d.]+))?", name).groups()  # pyright: ignore[reportOptionalMemberAccess]
        loss = losses.make(base, counts, tau=float(tau or 1), **options)
        actual, gradient = jax.jit(jax.value_and_grad(loss))(logits, labels)
        assert_close(actual, value, 2e-5, f"loss {name}")
        assert_close(gradient, gradients[name], 1e-4, f"gradient of {name}")
