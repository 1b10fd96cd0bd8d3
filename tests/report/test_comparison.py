"""Runs side by side."""

import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lift_jax import config as lift_config
from lift_jax import sweep as sweeps
from lift_jax.errors import UserError
from lift_jax.report import __main__ as command
from lift_jax.report import comparison, files, style, swept


def write_run(folder: Path, accuracy: float, params: int, **changes) -> None:
    """A folder as a run leaves it, of two classes."""
    folder.mkdir(parents=True)
    config = lift_config.default()
    config.update(num_epochs=1, **changes)
    (folder / "config.json").write_text(json.dumps(lift_config.resolve(config).to_dict()))
    metrics = dict(accuracy=accuracy, mean_acc=accuracy, many_acc=accuracy, med_acc=None, few_acc=accuracy / 2)
    metrics |= dict(error_rate=100 - accuracy, macro_f1=accuracy, worst_case_acc=0.0, hmean_acc=accuracy)
    metrics |= dict(gmean_acc=accuracy, expected_calibration_error=10.0)
    (folder / "eval.json").write_text(json.dumps({"plain": metrics | {"num_examples": 4}}))
    trainable = [dict(group="head", blocks=0, arrays=1, params=params, share=0.1)] if params else []
    record = dict(
        format=1, command="python -m lift_jax.main --config mine.py", versions={"jax": "0"}, devices="cpu",
        backbone=dict(name="tiny", hash="0", parameters=1000), trainable=trainable, class_names=["a", "b"],
        train_counts=[200, 5], test_counts=[2, 2], class_groups=[0, 2],
    )  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    rows: Any = dict(index=np.arange(4), label=np.array([0, 0, 1, 1]), prediction=np.zeros(4, int))
    np.savez(folder / "predictions.npz", **rows, confidence=np.full(4, 0.5))
    lines = [dict(step=s, epoch=1, split="train", loss=1 / s, accuracy=s, lr=0.1) for s in (1, 2, 3)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines if params))


@pytest.fixture
def sweep(tmp_path) -> Path:
    for seed, accuracy in enumerate((50.0, 60.0, 64.0)):
        write_run(tmp_path / "sweep" / f"lift,{seed}", accuracy, 100, seed=seed)
    write_run(tmp_path / "sweep" / "zero_shot", 40.0, 0, method="zero_shot")
    return tmp_path / "sweep"


def test_runs_that_differ_in_the_seed_alone_are_one_row(sweep):
    rows = comparison.group([files.read(folder) for folder in sorted(sweep.iterdir())])
    assert [(row.name, len(row.runs), row.parameters) for row in rows] == [("lift", 3, 100), ("zero_shot", 1, 0)]
    steps, loss = rows[0].curve("loss")
    np.testing.assert_array_equal(steps, [1, 2, 3])
    np.testing.assert_allclose(loss, [1, 1 / 2, 1 / 3])


def test_what_differs_names_the_rows(tmp_path):
    for loss in "LA", "CE":
        write_run(tmp_path / loss, 50.0, 10, loss=loss)
    rows = comparison.group([files.read(tmp_path / loss) for loss in ("LA", "CE")])
    assert [row.name for row in rows] == ["loss=LA", "loss=CE"]


def test_what_no_result_depends_on_makes_no_row(tmp_path):
    changes = [{}, {"remat": "full", "fsdp": True}, {"accumulate": 4, "checkpoint_minutes": 0.0}, {"head_scale": 20.0}]
    for index, changed in enumerate(changes):
        write_run(tmp_path / str(index), 50.0, 10, **changed)
    rows = comparison.group([files.read(tmp_path / str(index)) for index in range(len(changes))])
    assert [(row.name, len(row.runs)) for row in rows] == [("head_scale=25.0", 3), ("head_scale=20.0", 1)]


def test_programs_are_given_every_metric_with_its_deviation(sweep, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command.main(["compare", str(sweep), "--json"]) == 0
    lift, zero_shot = json.loads(capsys.readouterr().out)
    assert (lift["name"], lift["trained_parameters"]) == ("lift", 100)
    assert lift["runs"] == [str(sweep / f"lift,{seed}") for seed in range(3)]
    assert lift["metrics"]["accuracy"] == {"mean": 58.0, "deviation": pytest.approx(statistics.stdev([50, 60, 64]))}
    assert lift["metrics"]["med_acc"] == {"mean": None, "deviation": None}
    assert zero_shot["metrics"]["few_acc"] == {"mean": 20.0, "deviation": None}
    assert {file.name for file in tmp_path.iterdir()} == {"sweep"}  # no page


def test_the_table_has_mean_and_standard_deviation(sweep, tmp_path, capsys):
    assert command.main(["compare", str(sweep), "--output", str(tmp_path / "all.html")]) == 0
    header, lift, zero_shot = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["runs", "overall", "mean"]
    expected = f"{statistics.fmean((50, 60, 64)):.1f} ± {statistics.stdev((50, 60, 64)):.1f}"
    assert expected in lift and "±" not in zero_shot and "–" in lift
    text = (tmp_path / "all.html").read_text(encoding="utf-8")
    assert expected in text and "Convergence" in text
    assert {path.name for path in (tmp_path / "all").iterdir()} == {"accuracy_and_parameters.png", "convergence.png"}


def test_without_training_there_is_no_convergence(sweep, tmp_path):
    comparison.compare([sweep / "zero_shot"], tmp_path / "page.html")
    assert "Convergence" not in (tmp_path / "page.html").read_text(encoding="utf-8")


def rows_of(folder: Path) -> list[comparison.Row]:
    return comparison.group([files.read(each) for each in comparison.find_runs([folder])])


def test_a_sweep_over_one_number_has_a_picture_of_it(tmp_path):
    accuracies = {1.0: 60.0, 0.0: 40.0, 0.25: 70.0}
    for strength, accuracy in accuracies.items():
        for seed in 0, 1:
            write_run(tmp_path / f"{strength},{seed}", accuracy + seed, 100, tuner_strength=strength, seed=seed)
    found = swept.find(rows_of(tmp_path))
    assert found is not None and found.key == "tuner_strength"
    with style.settings():
        (axes,) = found.draw(rows_of(tmp_path)).axes
    drawn = {curve.get_label(): curve[0].get_xydata().tolist() for curve in axes.containers}
    assert list(drawn) == ["overall", "many", "few"]  # there is no class of medium
    assert drawn["overall"] == [[place, accuracies[place] + 0.5] for place in sorted(accuracies)]
    assert drawn["few"] == [[place, (accuracies[place] + 0.5) / 2] for place in sorted(accuracies)]
    assert axes.get_xlabel() == "tuner_strength" and axes.get_xscale() == "linear"
    comparison.compare([tmp_path], tmp_path / "all.html")
    assert "Accuracy over tuner_strength" in (tmp_path / "all.html").read_text(encoding="utf-8")
    assert {each.name for each in (tmp_path / "all").iterdir()} == {"accuracy_over_number.png", "convergence.png"}


@pytest.mark.parametrize(
    ("trained", "named"),
    [
        ((4800, 9044), ["4,800", "9,044"]),  # no power of ten is between them
        ((4800, 5000, 12_000), ["4,800", "12,000"]),
        ((900, 120_000), ["1k", "10k", "100k"]),
        ((0, 4800), ["none", "4,800"]),
        ((4800,), ["1k", "10k"]),
        ((22_302,), ["10k", "100k"]),
    ],
)
@pytest.mark.filterwarnings("error")
def test_the_axis_of_trained_parameters_has_numbers(tmp_path, trained, named):
    for count in trained:
        for seed in 0, 1:
            write_run(tmp_path / f"{count},{seed}", 50.0 + seed, count, lr=(1 + count) / 1e6, seed=seed)
    with style.settings():
        axes = comparison._cost(rows_of(tmp_path)).axes[-1]
    low, high = axes.get_xlim()
    ticks = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
    assert [text.get_text() for place, text in ticks if low <= place <= high] == named


def test_numbers_of_several_magnitudes_are_on_a_logarithmic_axis(tmp_path):
    for lr in 0.001, 0.01, 0.1:
        write_run(tmp_path / str(lr), 50.0, 100, lr=lr)
    found = swept.find(rows_of(tmp_path))
    assert found is not None
    (axes,) = found.draw(rows_of(tmp_path)).axes
    assert axes.get_xscale() == "log" and [tick.get_text() for tick in axes.get_xticklabels()] == [
        "0.001",
        "0.01",
        "0.1",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        [{"lr": 0.1}, {"lr": 0.2}],  # too few for a curve
        [{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3, "tau": 0.5}],
        [{"loss": "LA"}, {"loss": "CE"}, {"loss": "Focal"}],
        [{"seed": 0}, {"seed": 1}, {"seed": 2}],
    ],
)
def test_what_is_no_sweep_over_one_number_has_none(tmp_path, changes):
    for index, changed in enumerate(changes):
        write_run(tmp_path / str(index), 50.0, 100, **changed)
    assert swept.find(rows_of(tmp_path)) is None


def test_no_run(tmp_path, sweep, capsys):
    shutil.rmtree(sweep / "zero_shot")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty"):
        comparison.compare([tmp_path / "empty"], tmp_path / "page.html")
    (sweep / "lift,0" / "eval.json").unlink()
    assert command.main(["compare", str(sweep)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "eval.json" in said and said.count("\n") == 1


def test_a_sweep_ends_in_a_comparison(tmp_path, capsys):
    write_run(tmp_path / "lift", 50.0, 100)
    write_run(tmp_path / "zero_shot", 40.0, 0, method="zero_shot")
    config = lift_config.default()
    config.update(num_epochs=1, sweep="method=lift,zero_shot")  # both are there already
    sweeps.run(config, tmp_path)
    assert "lift" in (tmp_path / "comparison.html").read_text(encoding="utf-8")
    (tmp_path / "lift" / "run.json").unlink()
    sweeps.run(config, tmp_path)
    assert "could not be drawn" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "[]", '{"plain": {"accuracy": "x"}}', '{"plain": {"accuracy": 50.0}}'])
def test_a_sweep_names_a_damaged_result(tmp_path, content):
    write_run(tmp_path / "lift", 50.0, 100)
    (tmp_path / "lift" / "eval.json").write_text(content)
    config = lift_config.default()
    config.update(num_epochs=1, sweep="method=lift,zero_shot")
    with pytest.raises(UserError, match=r"lift/eval\.json .*; evaluate the run again with --mode eval\.$"):
        sweeps.run(config, tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["lift"]


@pytest.mark.parametrize("name", ["page", "folder.html"])
def test_an_output_that_cannot_be_a_page(sweep, tmp_path, capsys, name):
    (tmp_path / "folder.html").mkdir()
    assert command.main(["compare", str(sweep), "--output", str(tmp_path / name)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and name in said and said.count("\n") == 1
    assert not (tmp_path / "folder").exists()


def test_a_damaged_run_among_others_is_named(sweep, tmp_path, capsys):
    (sweep / "lift,1" / "eval.json").write_text("[]")
    assert command.main(["compare", str(sweep), "--output", str(tmp_path / "page.html")]) == 1
    assert "lift,1/eval.json" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
