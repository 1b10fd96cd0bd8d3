"""The taxonomy that a run's data have: iNaturalist's categories."""

import json

import ml_collections
import numpy as np
import pytest

from lift_jax.errors import UserError
from lift_jax.inference import taxonomies

LINES = """
Morus alba,Morus,Moraceae,Plantae
Ficus carica,Ficus,Moraceae,Plantae
Morus bassanus,Morus,Sulidae,Animalia
Sula sula,Sula,Sulidae,Animalia
"""
CATEGORIES = [
    {"id": 10 - place, "name": name, "genus": genus, "family": family, "kingdom": kingdom, "order": ""}
    for place, (name, genus, family, kingdom) in enumerate(line.split(",") for line in LINES.split("\n") if line)
]
NAMES = [category["name"] for category in reversed(CATEGORIES)]  # the order of the ids


def config(**data) -> ml_collections.FrozenConfigDict:
    own = {"format": "inaturalist", "class_names": "", "train_list": "", "root": "", "level": "species", **data}
    return ml_collections.FrozenConfigDict({"data": own})


def test_homonyms_are_apart_and_levels_that_are_missing_are_left_out():
    ranks = taxonomies.make(CATEGORIES, "species", NAMES, "c.json").ranks
    assert [rank.name for rank in ranks] == ["species", "genus", "family", "kingdom"]
    assert ranks[0].groups == tuple(NAMES)
    assert sorted(ranks[1].groups) == ["Ficus", "Morus", "Morus", "Sula"] and len(set(ranks[1].members)) == 4
    assert [ranks[2].groups[member] for member in ranks[2].members] == ["Sulidae", "Sulidae", "Moraceae", "Moraceae"]


@pytest.mark.parametrize(
    ("probabilities", "answer"),
    [
        ([0.9, 0.05, 0.03, 0.02], ("species", "Sula sula", 0.9)),
        ([0.5, 0.4, 0.05, 0.05], ("family", "Sulidae", 0.9)),
        ([0.1, 0.45, 0.0, 0.45], (None, None, 0.55)),  # both genera of the name are not one
    ],
)
def test_the_most_specific_rank_that_is_sure(probabilities, answer):
    rollup = taxonomies.make(CATEGORIES, "species", NAMES, "c.json", 0.8)
    (found,) = rollup(np.array([probabilities]))
    assert found[:2] == answer[:2] and found.probability == pytest.approx(answer[2])


@pytest.mark.parametrize("form", ["class_names", "train_list", "tfds", "below"])
def test_the_file_is_the_one_of_the_run(tmp_path, form):
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"categories": CATEGORIES} if form == "train_list" else CATEGORIES))
    own = {
        "class_names": {"class_names": str(file)},
        "train_list": {"train_list": str(file)},
        "tfds": {"class_names": str(file), "format": "tfds"},
        "below": {"class_names": "c.json", "root": str(tmp_path)},
    }[form]
    found = taxonomies.of_run(config(**own), NAMES, 0.7)
    assert found.threshold == 0.7 and len(found.ranks) == 4
    families = taxonomies.of_run(config(**own, level="family"), ["Moraceae", "Sulidae"])
    assert [rank.name for rank in families.ranks] == ["family", "kingdom"]


@pytest.mark.parametrize(
    ("changes", "level", "names", "words"),
    [
        ({}, "genus", ["Ficus", "Morus", "Sula"], r"the genus 'Morus' in more than one taxon .*--rollup FILE"),
        ({}, "kingdom", ["Animalia", "Plantae"], r"no level above kingdom"),
        ({}, "species", [*NAMES, "Homo sapiens"], r"no category for the class 'Homo sapiens'; give the file of the"),
        ({"name": None}, "species", NAMES, r"categories without 'name'"),
        ({"id": 10}, "species", NAMES, r"two categories with the id 10"),
    ],
)
def test_what_is_no_taxonomy(changes, level, names, words):
    categories = [*CATEGORIES[:-1], {**CATEGORIES[-1], **changes}]
    with pytest.raises(UserError, match=rf"c\.json has .*{words}|c\.json has {words}"):
        taxonomies.make(categories, level, names, "c.json")


@pytest.mark.parametrize("form", ["folder", "tfds"])
def test_a_run_of_other_data(form):
    with pytest.raises(UserError, match=rf"--rollup is inaturalist, but .*config\.data\.format={form}.*--rollup FILE"):
        taxonomies.of_run(config(format=form, train_list="x"), NAMES)
