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


@pytest.mark.parametrize("name", ["w/o mask", "n/a", "A/C", "24/7", "TV/monitor", "km/h", "yes/no", "h/o"])
def test_slashes_of_names_that_are_no_paths_stay(name):
    assert prompts.build([name, "with mask"]) == [[f"a photo of a {name}."], ["a photo of a with mask."]]


def test_paths_of_folders_are_read_from_their_end():
    names = ["birds/very_small", "cats/very_small", "dogs"]
    assert prompts.build(names, "name") == [["very small birds"], ["very small cats"], ["dogs"]]
    assert prompts.build(["a/airfield", "b/bar/indoor", "b/bazaar/indoor"], "name") == [
        ["airfield"],
        ["indoor bar"],
        ["indoor bazaar"],
    ]


@pytest.mark.parametrize("name", ["class 7", "7", "class_07", "Label-3", "id 5", "-1", "?"])
def test_names_that_say_nothing_are_warned_about(caplog, name):
    with caplog.at_level(logging.WARNING, "lift_jax"):
        assert len(prompts.build([name, "hen"])) == 2
    assert "1 of 2 class names say nothing to a text tower: " + name.replace("_", " ") in caplog.text
    assert "config.data.class_names" in caplog.text


@pytest.mark.parametrize("names", [["hen", "boeing 747", "7 spot ladybird", "route 66"], ["zero", "one"]])
def test_names_with_numbers_that_say_something_are_not_warned_about(caplog, names):
    with caplog.at_level(logging.WARNING, "lift_jax"):
        prompts.build(names)
    assert not caplog.text


def test_classes_with_the_same_prompt_are_warned_about_by_name(caplog):
    with caplog.at_level(logging.WARNING, "lift_jax"):
        sentences = prompts.build(["crane", "hen", "Crane", "hot_dog", "hot dog"])
    assert sentences[0] == ["a photo of a crane."] and sentences[4] == ["a photo of a hot dog."]
    assert "have the same prompt" in caplog.text
    assert "0 (crane) and 2 (Crane), 3 (hot dog) and 4 (hot dog); give them different names" in caplog.text


@pytest.mark.parametrize(
    "names, prompt, message",
    [
        (["hen", "\ud800"], prompts.DEFAULT, r"The name of class 1 is \\ud800, which has half a character"),
        (["hen", "a\0b"], "ensemble", r"The name of class 1 is a\\x00b, which has a NUL"),
        (["hen"], "a \ud800 {}.", r"config\.prompt is a \\ud800 \{\}\., which has half a character"),
        (["hen"], "a\0{}.", r"config\.prompt is a\\x00\{\}\., which has a NUL"),
        (["hen"], "{}" + "a" * 100_000, r"config\.prompt is \{\}a{78}… \(100,002 characters\), and no text tower"),
        (["hen"], "a" * 100_000, r"config\.prompt has the template 'a{80}… \(100,000 characters\)'; write \{\} once"),
        (["hen"], "https://example.org/a.json", r"config\.prompt is https://example\.org/a\.json, which is on the web"),
        (["hen"], "no.json", r"no\.json cannot be read"),
    ],
)
def test_what_no_tokenizer_reads_is_refused(names, prompt, message):
    with pytest.raises(UserError, match=message):
        prompts.build(names, prompt)


@pytest.mark.parametrize("template", ["a photo", "a {} and {}", "a {name}"])
def test_template_without_a_place_for_the_name(template):
    with pytest.raises(UserError, match=r"config\.prompt has the template"):
        prompts.build(["hen"], template)


def test_wordnet_ids_that_are_not_imagenets_are_warned_about(caplog):
    with caplog.at_level(logging.WARNING, "lift_jax"):
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
    for content, message in [
        ("[]", "must be an object"),
        ('{"hen": []}', "must be an object"),
        ("[" * 200_000, "is no valid JSON"),
        ('{"hen": ["\\ud800"]}', r"A descriptor of 'hen' in .*descriptors\.json is \\ud800, which has half"),
        ('{"hen": [" "]}', r"A descriptor of 'hen' in .*descriptors\.json is empty"),
    ]:
        file.write_text(content)
        with pytest.raises(UserError, match=message):
            prompts.build(["hen"], str(file))


def test_descriptors_are_found_from_home_and_in_any_encoding(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    content = json.dumps({"Ka\u0308fer-Art": ["six legs"]}, ensure_ascii=False)
    (tmp_path / "descriptors.JSON").write_text(content, "utf-16")
    assert prompts.build(["k\u00e4fer_art"], "~/descriptors.JSON") == [["k\u00e4fer art, which has six legs."]]
