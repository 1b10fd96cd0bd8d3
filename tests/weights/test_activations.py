"""GELU or quick_gelu: known from the files or their names, asked for otherwise, and never guessed."""

import json
import logging

import layouts
import pytest
import safetensors.numpy

from lift_jax import weights
from lift_jax.errors import UserError
from lift_jax.weights import activations, convert, huggingface, open_clip

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

ASKS = r"model\.pt does not tell .* config\.backbone_activation=quick_gelu .* or config\.backbone_activation=gelu"


def _towers(backbone):
    return {tower.activation for tower in (backbone.vision, backbone.text) if tower is not None}


@pytest.mark.parametrize(
    "name, activation",
    [
        ("apple/DFN5B-CLIP-ViT-H-14-378", "quick_gelu"),
        ("apple/DFN2B-CLIP-ViT-B-16", "quick_gelu"),
        ("apple/DFN2B-CLIP-ViT-L-14-39B", "gelu"),
        ("vit_b_32-quickgelu-laion400m_e32-46683a32.pt", "quick_gelu"),
        ("vit_base_patch32_clip_224.laion400m_e32", "quick_gelu"),
        ("vit_b_16-laion400m_e32-55e67d44.pt", "gelu"),
        ("laion/CLIP-ViT-B-16-laion2B-s34B-b88K", "gelu"),
        ("laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K", "gelu"),
        ("b32_400m.pt", "quick_gelu"),
        ("G14_fullcc2.5b.pt", "quick_gelu"),
        ("h14_v1.2_altogether.pt", "gelu"),
        ("rn50-quickgelu-cc12m-f000538c.pt", "quick_gelu"),
        ("timm/vit_base_patch16_clip_224.openai", "quick_gelu"),
        ("timm/vit_base_patch16_clip_224.openai_ft_in1k", "gelu"),
        ("timm/vit_huge_patch14_clip_224.metaclip2_worldwide", "quick_gelu"),
        ("timm/vit_huge_patch14_clip_378.metaclip2_worldwide", "gelu"),
        ("epoch_30.pt", None),
        ("open_clip_pytorch_model.bin", None),
        ("ViT-B-16.pt", None),
    ],
)
def test_names(name, activation):
    assert activations.from_name(name) == activation


@pytest.mark.parity
@pytest.mark.slow
def test_the_registry_of_open_clip():
    pytest.importorskip("open_clip", reason="open_clip is not installed (tests/requirements-parity.txt)")
    from open_clip import pretrained

    known = 0
    for model, tags in pretrained._PRETRAINED.items():
        for tag, about in tags.items():
            expected = "quick_gelu" if about.get("quick_gelu") else "gelu"
            for name in f"{model}.{tag}", about["hf_hub"]:
                found = activations.from_name(name) if name else None
                # A name without a tag that says which may be any model; open_clip's registry has no such quick_gelu.
                assert found == expected or (found is None and expected == "gelu"), name
                known += found is not None
    assert known > 200


def test_a_bare_state_dict_is_asked_for(tmp_path):
    file = layouts.write_torch(tmp_path / "model.pt", layouts.openai_arrays(layouts.clip()))
    with pytest.raises(UserError, match=ASKS):
        weights.load(str(file))
    for activation in "quick_gelu", "gelu":
        assert _towers(weights.load(str(file), activation=activation)) == {activation}


def test_a_folders_name_further_up_tells_nothing(tmp_path):
    (tmp_path / "openai").mkdir()
    layouts.write_torch(tmp_path / "openai/model.pt", layouts.openai_arrays(layouts.clip()))
    with pytest.raises(UserError, match=ASKS):
        weights.load(str(tmp_path / "openai/model.pt"))


@pytest.mark.parametrize(
    "name, activation", [("vit_b_16-laion400m_e32-55e67d44.pt", "gelu"), ("b16_400m.pt", "quick_gelu")]
)
def test_a_state_dict_that_is_known_by_its_name(tmp_path, caplog, name, activation):
    caplog.set_level(logging.INFO)
    file = layouts.write_torch(tmp_path / name, layouts.openai_arrays(layouts.clip()))
    assert _towers(weights.load(str(file))) == {activation}
    assert f"The activation of {file} is {activation}" in caplog.text


def test_a_state_dict_of_openais_archive(tmp_path):
    constants = {name: torch.tensor(1) for name in ("input_resolution", "context_length", "vocab_size")}
    file = layouts.write_torch(tmp_path / "model.pt", layouts.openai_arrays(layouts.clip()) | constants)
    assert _towers(weights.load(str(file))) == {"quick_gelu"}


class QuickGELU(torch.nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


@pytest.mark.parametrize(
    "module, activation", [(QuickGELU, "quick_gelu"), (torch.nn.GELU, "gelu"), (None, "quick_gelu")]
)
def test_an_archive_by_the_classes_of_its_modules(tmp_path, module, activation):
    arrays = layouts.openai_arrays(layouts.clip())
    file = layouts.write_torchscript(tmp_path / "model.pt", arrays, module)
    assert _towers(weights.load(str(file))) == {activation}


def test_the_configuration_beside_a_state_dict(tmp_path):
    open_clip.save_backbone(tmp_path, layouts.clip("gelu"))
    (tmp_path / open_clip.FILES[0]).unlink()
    file = layouts.write_torch(tmp_path / "openai.pt", layouts.openai_arrays(layouts.clip()))
    backbone = weights.load(str(file))
    assert _towers(backbone) == {"gelu"} and backbone.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("name, activation", [("DFN2B-CLIP-ViT-B-16", "quick_gelu"), ("CLIP-ViT-B-16-laion2B", "gelu")])
@pytest.mark.parametrize("says", [True, False])
def test_a_folder_of_open_clip(tmp_path, name, activation, says):
    open_clip.save_backbone(tmp_path / name, layouts.clip("gelu"))
    if not says:
        config = json.loads((tmp_path / name / open_clip.CONFIG).read_text())
        del config["model_cfg"]["quick_gelu"]
        (tmp_path / name / open_clip.CONFIG).write_text(json.dumps(config))
    assert _towers(weights.load(str(tmp_path / name))) == {"gelu" if says else activation}


def test_the_hubs_cache_tells_the_repository(tmp_path):
    folder = tmp_path / "models--apple--DFN2B-CLIP-ViT-B-16" / "snapshots" / "0123"
    open_clip.save_backbone(folder, layouts.clip("gelu"))
    config = json.loads((folder / open_clip.CONFIG).read_text())
    del config["model_cfg"]["quick_gelu"]
    (folder / open_clip.CONFIG).write_text(json.dumps(config))
    assert _towers(weights.load(str(folder))) == {"quick_gelu"}


@pytest.mark.parametrize(
    "architecture, tag, activation",
    [
        ("vit_base_patch16_clip_224", "openai", "quick_gelu"),
        ("vit_base_patch16_clip_224", "laion2b", "gelu"),
        ("vit_base_patch16_clip_224", "openai_ft_in1k", "gelu"),
        ("vit_base_patch16_clip_quickgelu_224", "openai", "quick_gelu"),
        ("vit_base_patch16_224", "augreg_in21k", "gelu"),
    ],
)
def test_a_folder_of_timm(tmp_path, caplog, architecture, tag, activation):
    pretrained = dict(input_size=[3, layouts.SIDE, layouts.SIDE], tag=tag)
    folder = layouts.write_timm(tmp_path / "timm", layouts.vit(), architecture=architecture, pretrained_cfg=pretrained)
    assert _towers(weights.load(str(folder))) == {activation}
    assert ("computes with gelu though it was trained with quick_gelu" in caplog.text) == (
        activation == "quick_gelu" and "quickgelu" not in architecture
    )


def test_the_key_is_obeyed_and_said_where_the_files_tell_something_else(tmp_path, caplog):
    huggingface.save_backbone(tmp_path / "clip", layouts.clip("quick_gelu"))
    assert _towers(weights.load(str(tmp_path / "clip"), activation="quick_gelu")) == {"quick_gelu"}
    assert "backbone_activation" not in caplog.text
    changed = weights.load(str(tmp_path / "clip"), activation="gelu")
    assert _towers(changed) == {"gelu"} and changed.hash == layouts.clip().hash
    assert "config.backbone_activation is gelu, and that is taken, though" in caplog.text
    assert "tell quick_gelu" in caplog.text


@pytest.mark.parametrize("value", ["relu", "GELU", "quickgelu", "None"])
def test_a_key_that_names_none(value):
    with pytest.raises(UserError, match=rf"config\.backbone_activation is '{value}'; write one of quick_gelu, gelu"):
        weights.load("quickstart", activation=value)


def test_convert_takes_the_activation(tmp_path, capsys):
    arrays = layouts.openai_arrays(layouts.clip())
    safetensors.numpy.save_file(arrays, tmp_path / "model.safetensors")
    source, target = str(tmp_path / "model.safetensors"), str(tmp_path / "new")
    assert convert.main([source, target]) == 1
    assert "backbone_activation=quick_gelu" in capsys.readouterr().err
    assert convert.main([source, target, "--activation", "quick_gelu"]) == 0
    assert _towers(weights.load(target)) == {"quick_gelu"}
