"""What a checkpoint belongs to; and a run whose head is the text tower, from training to prediction."""

import numpy as np
import pytest
from small_runs import build, small_config

import lift_jax
from lift_jax.data.digits import load_digits
from lift_jax.errors import UserError
from lift_jax.run import run
from lift_jax.training.state import TrainState
from lift_jax.workdir import checkpoints
from lift_jax.workdir.logs import Logs


@pytest.mark.parametrize(
    "saved, here, words",
    [
        ({"method": "lift"}, {"method": "lora"}, r"config\.method \(lift, here lora\); use the config and"),
        (
            {"tuner": {"dim": 4, "scale": None}},
            {"tuner": {"dim": 8, "scale": None}},
            r"config\.tuner\.dim \(4, here 8\)",
        ),
        ({"backbone_hash": "a" * 64}, {"backbone_hash": "b" * 64}, r"the backbone's weights \(a+\.\.\., here b+"),
        ({"head_scale": 25.0}, {"head_scale": 30.0}, r"config\.head_scale \(25\.0, here 30\.0\)"),
        ({"class_names": ["cat", "dog"]}, {"class_names": ["dog", "cat"]}, "class names .2 classes from cat, here"),
    ],
)
def test_what_would_make_other_parameters_of_the_same_shape_is_refused(tiny_folder, tmp_path, saved, here, words):
    built = build(small_config(tiny_folder, method="head_only"))
    state, logs = built.state(), Logs(None, enabled=False)
    with checkpoints.Checkpoints(tmp_path, built.identity | saved) as saving:
        saving.save(checkpoints.Saved(state, {"step": 0}), loss=1.0)
    assert checkpoints.restore_newest(tmp_path, state, built.identity | saved, logs) is not None
    with pytest.raises(UserError, match=words):
        checkpoints.restore_newest(tmp_path, state, built.identity | here, logs)


def test_the_newest_and_the_one_of_the_lowest_loss_stay(tiny_folder, tmp_path):
    built = build(small_config(tiny_folder))
    state = built.state()
    with checkpoints.Checkpoints(tmp_path, built.identity, keep=2) as saving:
        for step, loss in enumerate([3.0, 1.0, float("nan"), 2.0, 1.5, 1.7]):
            saving.save(
                checkpoints.Saved(TrainState(state.step + step, state.trainable, state.opt_state), {"step": step}), loss
            )
        saving.wait()
        assert saving.best == 1
    assert checkpoints.steps(tmp_path) == [1, 4, 5]


@pytest.mark.slow
def test_a_run_with_a_trained_context(tiny_folder, tmp_path):
    config = small_config(tiny_folder, method="lift_plus+coop+text_lora")
    config.report = False
    config.num_epochs = 1
    results = run(config, tmp_path / "run")
    assert run(config, tmp_path / "run", mode="eval") == results

    _, test = load_digits(50)
    images = np.stack([test.source[i] for i in range(len(test))])
    probabilities = lift_jax.load(tmp_path / "run").predict(images)
    with np.load(tmp_path / "run" / "predictions.npz") as written:
        np.testing.assert_array_equal(probabilities.argmax(axis=1), written["prediction"])
        np.testing.assert_array_equal(probabilities.max(axis=1), written["confidence"])

    config.tuner.text_dim = 2
    with pytest.raises(UserError, match=r"config\.tuner\.text_dim=0 \(here 2\)"):
        run(config, tmp_path / "run", mode="eval")
