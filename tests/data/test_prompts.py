import json

import pytest

from lift_jax.data import prompts
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
