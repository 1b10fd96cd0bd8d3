"""What calibration, sets, unknown images and suspected labels are worth: figures by hand, and a small run of it all."""

import re

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from small_runs import small_config

from lift_jax.bench import decision_figures
from lift_jax.bench.decision_figures import Flipped, Found, Known, Unknown
from lift_jax.bench.decision_runs import measure
from lift_jax.errors import UserError

METRICS = {"accuracy": 50.0, "many_acc": 60.0, "med_acc": 40.0, "few_acc": 20.0, "expected_calibration_error": 7.0}


def unknown(seed: int) -> Unknown:
    generator = np.random.default_rng(seed)
    is_known = np.arange(40) % 4 > 0
    before, after = ({"probability": generator.random(40), "energy": 3 * is_known + generator.random(40)} for _ in "ab")
    return Unknown(is_known, before, after, "energy")  # pyright: ignore[reportArgumentType]


def pairs_in_order(is_known: np.ndarray, scores: np.ndarray) -> float:
    """The share of pairs of a known and an unknown image in which the known one has the higher score; ties are half."""
    differences = scores[is_known][:, None] - scores[~is_known]
    return float(np.mean((differences > 0) + 0.5 * (differences == 0)))


def flipped() -> Flipped:
    suspicion = np.array([0, 4, 0, 1, 3, 2, 0, 0])
    return Flipped(np.array([False, True, True, False, False, True, False, False]), suspicion)


def test_an_area_is_the_share_of_pairs_in_order():
    found = unknown(0)
    areas = found.areas(found.before)
    assert areas["energy"] == 1.0
    assert areas["probability"] == pytest.approx(pairs_in_order(found.is_known, found.before["probability"]))


def test_labels_that_are_not_suspected_are_tied_behind_the_others():
    # The flipped labels are the first, the third, and among the four of no suspicion, of eight: 1/3 (1/1 + 2/3 + 3/8).
    assert flipped().average_precision == pytest.approx((1 + 2 / 3 + 3 / 8) / 3)
    assert flipped().found == 2
    none = Flipped(np.array([True, False, False, False]), np.zeros(4, np.int64))
    assert (none.average_precision, none.found) == (0.25, 0)


def test_the_tables_say_means_errors_and_what_they_are_of():
    better = METRICS | {"accuracy": 54.0, "few_acc": float("nan")}
    known = [Known(METRICS, better, 90.0, 2.0), Known(METRICS | {"accuracy": 52.0}, better, 94.0, 3.0)]
    found = Found({"lift": known}, {"lift": [unknown(0), unknown(1)]}, [flipped(), flipped()], 3, 0.05, 0.9)
    text = decision_figures.tables(found)
    rows = {match[1]: re.split(r"\s{2,}", match[2]) for match in re.finditer(r"^(\S+(?: \S+)*)  +(.*)$", text, re.M)}
    lines = [re.split(r"\s{2,}", line) for line in text.splitlines()]
    assert ["lift", "51.0 ± 1.0", "60.0 ± 0.0", "40.0 ± 0.0", "20.0 ± 0.0", "7.0 ± 0.0"] in lines
    assert [
        "lift, calibrated",
        "54.0 ± 0.0",
        "60.0 ± 0.0",
        "40.0 ± 0.0",
        "-",
        "7.0 ± 0.0",
        "92.0 ± 2.0",
        "2.5 ± 0.5",
    ] in lines
    assert rows["lift, calibrated"][1:] == ["1.000 ± 0.000", "1.000 ± 0.000"]  # energy, and the chosen one
    assert rows["review"] == ["0.681 ± 0.000", "0.375 ± 0.000", "3.0 ± 0.0", "4.0 ± 0.0", "2.0 ± 0.0"]
    assert "made for 90 %" in text and "3 classes left out" in text and "5 % of 8 training labels flipped" in text
    assert text.endswith("the standard error of the mean over 2 seeds.")


@pytest.mark.parametrize(
    ("changes", "arguments", "sentence"),
    [
        ({}, {"methods": ["zero_shot", "head_onyl"]}, "head_onyl"),
        ({}, {"methods": []}, "--methods names no method"),
        ({}, {"coverage": 1.0}, "--coverage is 1.0; write a number between 0 and 1"),
        ({}, {"unknown_classes": 9}, "--unknown-classes is 9, but the data have 10 classes"),
        ({}, {"flipped": 0.999}, "--flipped is 0.999, which is"),
        ({"validation": "list.txt"}, {}, "config.validation is list.txt, a file; .*balanced:2"),
        (
            {"validation": "balanced:1"},
            {},
            "config.validation=balanced:1 holds out 10 images of 10 classes, .* at least 30",
        ),
        ({"task": "multilabel"}, {}, "for runs whose images are of one class each.*config.task=multiclass"),
        ({}, {"unknown_classes": 5}, "config.validation=balanced:5 holds out 25 images of 5 classes"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(tiny_folder, changes, arguments, sentence):
    said = []
    config = small_config(tiny_folder, **({"validation": "balanced:5"} | changes))
    config.data.imbalance = 10
    with pytest.raises(UserError, match=sentence):
        measure(
            config.to_dict(), seeds=1, say=said.append, **{"methods": ["zero_shot"], "unknown_classes": 3} | arguments
        )
    assert not said


@pytest.mark.slow
def test_a_small_run_of_it_all(tiny_folder):
    config = small_config(tiny_folder, validation="fraction:0.3", sweep="seed=0,1")
    said = []
    methods = ["zero_shot", "head_only"]
    found = measure(config.to_dict(), methods, 1, unknown_classes=3, flipped=0.1, coverage=0.8, say=said.append)
    assert list(found.known) == list(found.unknown) == methods and len(said) == 5
    (flips,) = found.flipped
    assert np.count_nonzero(flips.is_flipped) == round(0.1 * len(flips.is_flipped))
    assert flips.average_precision == pytest.approx(average_precision_score(flips.is_flipped, flips.suspicion))
    suspected = flips.suspicion[flips.suspicion > 0]
    assert sorted(suspected) == list(range(1, len(suspected) + 1))
    for method in methods:
        (known,), (scores,) = found.known[method], found.unknown[method]
        assert 0 <= known.before["accuracy"] <= 100 and known.before["num_examples"] == known.after["num_examples"]
        assert 1 <= known.size <= 10 and 50 < known.covered <= 100
        assert 0 < np.count_nonzero(~scores.is_known) < np.count_nonzero(scores.is_known)
        for side in scores.before, scores.after:
            assert side["probability"].max() <= 1 and side["probability"].min() >= 1 / 7 - 1e-6  # of seven classes
            for name, area in scores.areas(side).items():
                assert area == pytest.approx(pairs_in_order(scores.is_known, side[name]))
    text = decision_figures.tables(found)
    assert f"{found.known['head_only'][0].after['accuracy']:.1f}" in text
