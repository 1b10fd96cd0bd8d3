import json
import logging

import pytest
from etils import epath

from lift_jax.data import imagenet, prompts
from lift_jax.errors import UserError


def test_default_prompt_of_cleaned_names():
    assert prompts.build(["tailed_frog", "black  widow"]) == [
        ["a photo of a tailed frog."],
        ["a photo of a black widow."],
    ]


def test_clip_templates():
    assert len(prompts.CLIP_TEMPLATES) == len(set(prompts.CLIP_TEMPLATES)) == 80
    ensemble = prompts.build(["hen"], "ensemble")[0]
    known = ["itap of my hen.", "a photo of many hen.", "the hen in a video game.", "a jpeg corrupted photo of a hen."]
    assert len(ensemble) == 80 and set(known) <= set(ensemble)


def test_name_alone_and_several_templates():
    assert prompts.build(["hen"], "name") == [["hen"]]
    assert prompts.build(["hen"], "a {}.|my {}.") == [["a hen.", "my hen."]]


@pytest.mark.parametrize(
    "name, words",
    [
        ("/a/apartment_building/outdoor", "outdoor apartment building"),
        ("/a/airfield", "airfield"),
        ("b/bar", "bar"),
        ("crt_screen", "crt screen"),
        ("Acris gryllus", "Acris gryllus"),
    ],
)
def test_clean(name, words):
    assert prompts.clean(name) == words


@pytest.mark.parametrize("template", ["a photo", "a {} and {}", "a {name}"])
def test_template_without_a_place_for_the_name(template):
    with pytest.raises(UserError, match=r"config\.prompt has the template"):
        prompts.build(["hen"], template)


def test_wordnet_ids_that_are_not_imagenets_are_warned_about(caplog):
    with caplog.at_level(logging.WARNING, "absl"):
        assert imagenet.readable(["n01440764", "n02119789"]) == ["n01440764", "n02119789"]
    assert "The class names are WordNet ids such as n01440764" in caplog.text
    assert imagenet.readable(["tench", "kit fox"]) == ["tench", "kit fox"]


@pytest.mark.slow
@pytest.mark.parity
def test_imagenets_ids_become_open_clips_names():
    pytest.importorskip("open_clip")
    from tensorflow_datasets.datasets.imagenet2012 import imagenet_common

    wnids = epath.Path(imagenet_common.label_names_file()).read_text().split()
    names = imagenet.readable(wnids)
    assert len(names) == len(set(wnids)) == 1000
    known = {
        "n01440764": "tench",
        "n01644900": "tailed frog",
        "n01774384": "southern black widow",
        "n15075141": "toilet paper",
    }
    assert {wnid: names[wnids.index(wnid)] for wnid in known} == known


def test_descriptors(tmp_path):
    file = tmp_path / "descriptors.json"
    file.write_text(json.dumps({"Tailed Frog": ["smooth skin", "a tail", "often found in streams"]}))
    assert prompts.build(["tailed_frog"], str(file)) == [
        [
            "tailed frog, which has smooth skin.",
            "tailed frog, which is a tail.",
            "tailed frog, which often found in streams.",
        ]
    ]
    with pytest.raises(UserError, match="no descriptors for 1 classes, for example 'hen'"):
        prompts.build(["tailed_frog", "hen"], str(file))
    file.write_text("[]")
    with pytest.raises(UserError, match="must be an object"):
        prompts.build(["hen"], str(file))
