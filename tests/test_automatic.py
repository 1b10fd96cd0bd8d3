"""The automatic choice: what is tried, what judges it, what is chosen, and that a search that was stopped goes on."""

import json
import shutil

import numpy as np
import pytest
from small_runs import small_config

from lift_jax import config as lift_config
from lift_jax.data import load_run_data
from lift_jax.errors import UserError
from lift_jax.evaluation.estimates import class_mean
from lift_jax.run import automatic
from lift_jax.run.automatic import cut, run_automatic
from lift_jax.run.candidates import EACH, Candidate, Trial, candidates, choose, judge, promoted


def resolved(**changes):
    config = lift_config.default()
    config.data.imbalance = 20
    config.update(**changes)
    return lift_config.resolve(config)


def values_of(found: list[Candidate], key: str) -> set:
    return {candidate.values[key] for candidate in found}


def test_candidates_are_the_config_itself_and_others_around_it():
    found = candidates(resolved(), 16, set())
    assert [candidate.width for candidate in found] == [0] * EACH + [4] * EACH + [16] * EACH
    assert values_of(found, "method") == {"head_only", "lift"}
    assert values_of(found, "tuner.dim") == {0, 4}
    for first, method in (0, "head_only"), (2 * EACH, "lift"):
        own = dict(method=method, lr=0.01, tau=1.0, weight_decay=5e-4, head_init="text")
        assert found[first].values == {**own, "tuner.dim": 0}
    assert len({str(candidate.values) for candidate in found}) == len(found) == 3 * EACH
    assert found == candidates(resolved(), 16, set())
    assert found != candidates(resolved(seed=1), 16, set())


def test_the_first_of_each_method_has_the_config_s_own_values():
    found = candidates(resolved(), 16, set())
    firsts = {candidate.width: candidate for candidate in reversed(found)}
    for candidate in found:
        own = firsts[candidate.width].values
        assert candidate.drawn == sum(candidate.values[key] != own[key] for key in own)
    assert {each.drawn for each in firsts.values()} == {0} and max(each.drawn for each in found) > 1


def test_keys_that_are_set_by_hand_keep_their_values():
    found = candidates(resolved(lr=0.5, tau=0.0), 16, {"method", "lr", "tuner.dim"})
    assert {candidate.width for candidate in found} == {16}
    assert values_of(found, "lr") == {0.5} and values_of(found, "tau") == {0.0}
    assert values_of(candidates(resolved(loss="CE"), 16, set()), "tau") == {1.0}


def test_every_candidate_is_a_valid_config():
    config = lift_config.default()
    config.tuner.dim = 8
    config.method = "lora+ln_tuning"
    for candidate in candidates(lift_config.resolve(config), 8, set()):
        applied = lift_config.resolve(candidate.apply(lift_config.resolve(config)))
        assert (applied.lr, applied.tau) == (candidate.values["lr"], candidate.values["tau"])
        assert applied.tuner.dim == (candidate.width if candidate.width else 0)


def trial(width: int, wrong: int, count: int = 100, epochs: int = 4, name: str = "") -> Trial:
    right = np.where(np.arange(count) < wrong, 0.0, 100.0)
    return Trial(Candidate(name or f"{width}-{wrong}", {}, width), epochs, right)


LABELS = np.arange(100) % 5


def test_a_tie_goes_to_the_cheapest_and_a_clear_gain_to_the_best():
    judged = judge([trial(16, 10), trial(4, 10), trial(0, 11)], LABELS)
    assert choose(judged).trial.candidate.width == 0  # one image of a hundred is within one standard error
    assert [each.within_noise for each in judged] == [True] * 3
    judged = judge([trial(0, 40), trial(16, 10), trial(4, 10)], LABELS)
    assert judged[0].trial.candidate.width == 4 and choose(judged) is judged[0]
    assert [each.within_noise for each in judged] == [True, True, False]
    assert judged[2].behind is not None and judged[2].behind.mean == pytest.approx(30.0)


def test_among_the_cheapest_within_noise_the_config_s_own_values_are_taken():
    far, near = (Trial(Candidate(str(n), {}, 0, n), 4, trial(0, wrong).right) for n, wrong in ((2, 9), (1, 10)))
    assert choose(judge([far, near, trial(16, 9)], LABELS)).trial is near
    better = Trial(far.candidate, 4, trial(0, 0).right)
    assert choose(judge([better, near], LABELS)).trial is better


def test_a_diverged_trial_is_last_and_never_chosen():
    diverged = Trial(Candidate("bad", {}, 0), 4, None)
    judged = judge([diverged, trial(16, 10)], LABELS)
    assert judged[-1].trial is diverged and not judged[-1].within_noise and judged[-1].score is None
    assert choose(judged).trial.candidate.width == 16
    assert diverged.candidate not in promoted([diverged, trial(16, 10)], LABELS)


def test_the_better_third_goes_on_and_the_best_of_each_width():
    trials = [trial(16, wrong) for wrong in (9, 1, 5, 3)] + [trial(0, 60), trial(0, 50)]
    assert [candidate.name for candidate in promoted(trials, LABELS)] == ["16-1", "16-3", "0-50"]


def test_the_standard_error_is_that_of_a_mean_over_classes():
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], [30, 10])
    means = [class_mean((generator.random(40) < np.where(labels, 0.8, 0.3)).astype(float), labels) for _ in range(2000)]
    spread = np.std([mean for mean, _ in means])
    assert np.mean([error for _, error in means]) == pytest.approx(spread, rel=0.2)
    assert class_mean(np.ones(1), np.zeros(1, np.int64)).error == np.inf


@pytest.mark.parametrize(
    "imbalance, classes_tested, said",
    [(5, 10, "validation=fraction:0.33:20"), (50, 10, "cross-validation over 3 folds")],
)
def test_the_images_that_judge(imbalance, classes_tested, said):
    config = lift_config.default()
    config.data.imbalance = imbalance
    config = lift_config.resolve(config)
    whole = load_run_data(config)
    cuts, sentence = cut(config, whole)
    assert said in sentence
    labels = np.concatenate([each.validation.labels for each in cuts])
    assert len(set(labels)) == classes_tested
    for each in cuts:
        assert len(each.train) + len(each.validation) == len(whole.train) and each.train.class_counts.all()


def test_without_a_spare_image_of_any_class_nothing_begins(tmp_path):
    from PIL import Image

    for name in "ab":
        for split in "train", "test":
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / split / name / "1.png")
    config = small_config("quickstart", auto=True)
    config.data.update(format="folder", root=str(tmp_path), imbalance=0)
    with pytest.raises(UserError, match=r"no class has a training image to spare; add images, or leave config\.auto"):
        run_automatic(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["zero_shot", "coop"])
def test_methods_without_a_head_of_their_own_are_refused(method, tmp_path):
    with pytest.raises(UserError, match=f"config.method={method} has none of its own; write config.method=lift"):
        run_automatic(small_config("quickstart", method=method), tmp_path)


@pytest.mark.parametrize(("key", "value"), [("patience", 2), ("init_from", "runs/photos")])
def test_what_the_held_out_images_would_judge_wrongly_is_refused(key, value, tmp_path):
    with pytest.raises(UserError, match=rf"config\.{key}.*; leave"):
        run_automatic(small_config("quickstart", auto=True, **{key: value}), tmp_path)


@pytest.mark.slow
def test_a_search_ends_in_an_ordinary_run_and_goes_on_after_a_kill(tiny_folder, tmp_path, capsys):
    by_hand = {"tau", "weight_decay", "head_init", "tuner.dim"}
    config = small_config(tiny_folder, validation="balanced:2", auto=True)
    config.tte.enabled = False
    results = run_automatic(config, tmp_path / "run", by_hand)
    out = capsys.readouterr().out
    assert "trials are within noise of the best" in out and "It is now trained on all images." in out
    known = json.loads((tmp_path / "run" / "auto.json").read_text())
    made = json.loads((tmp_path / "run" / "config.json").read_text())
    assert made["lr"] == known["chosen"]["lr"] and made["num_epochs"] == known["chosen"]["num_epochs"]
    assert not made["auto"] and made["validation"] == ""
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert sum(record["train_counts"]) == 314 and record.get("validation_counts") is None
    assert len(known["trials"]) == 6 + 2  # three learning rates of either method, and the better third again

    done = sorted((tmp_path / "run" / "auto" / "epochs=2").iterdir())[0]
    before = np.load(done / "predictions.npz")["prediction"]
    shutil.rmtree(done)
    for name in "eval.json", "config.json":
        (tmp_path / "run" / name).unlink()
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    state = known | {"closed": 1}
    (tmp_path / "run" / "auto.json").write_text(json.dumps(state))
    assert run_automatic(config, tmp_path / "run", by_hand) == results
    np.testing.assert_array_equal(np.load(done / "predictions.npz")["prediction"], before)
    again = json.loads((tmp_path / "run" / "auto.json").read_text())
    assert again["trials"] == known["trials"] and again["chosen"] == known["chosen"]
    assert again["seconds"] > known["seconds"]


def test_the_sentence_names_what_was_chosen():
    judged = judge([trial(16, 10), trial(0, 11)], LABELS)
    assert "2 of 2 trials are within noise of the best" in automatic._verdict(judged, choose(judged))
    assert "--config.num_epochs=4" in automatic._verdict(judged, choose(judged))
    assert "the cheapest of those within noise" in automatic._verdict(judged, choose(judged))
