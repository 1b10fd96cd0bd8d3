"""One file of weights as the whole backbone: what it holds is told by the names of its arrays."""

from pathlib import Path

from lift_jax.errors import UserError
from lift_jax.weights import augreg, huggingface, misplaced, open_clip, open_clip_trunk, openai, timm, torchscript
from lift_jax.weights.backbone import Backbone
from lift_jax.weights.folder import file_arrays, read_json


def load(file: Path, activation: str) -> Backbone:
    """Loads the model of a file, by the configuration beside it if there is one of the same kind.

    Args:
        file: an .npz file of AugReg, or what torch.save, TorchScript or safetensors wrote.
        activation: `config.backbone_activation`, for CLIPs of which nothing else tells the activation.

    Raises:
        UserError: if the file cannot be read, is of another model, or needs a configuration that is not there.
    """
    if file.suffix.lower() == ".npz":
        return augreg.load(file)
    if torchscript.is_archive(file):
        archive = torchscript.read(file)
        if (named := openai.aligned(archive.arrays, str(file))) is None:
            raise misplaced.arrays(archive.arrays, str(file))
        return openai.from_file(file, named, activation, archive.classes)
    foreign, source, folder = file_arrays(file), str(file), file.parent
    if named := openai.aligned(foreign, source):
        if (folder / open_clip.CONFIG).is_file():
            return open_clip.from_arrays(folder, named, source, file)
        return openai.from_file(file, named, activation)
    if (folder / open_clip.CONFIG).is_file() and (named := open_clip_trunk.aligned(foreign, source)):
        return open_clip_trunk.from_arrays(folder, named, source)
    if named := timm.aligned(foreign, source):
        if _has_config(folder, "architecture"):
            return timm.from_arrays(folder, named, source)
        return timm.from_file(file, named, activation)
    if named := huggingface.aligned(foreign, source):
        if _has_config(folder, "model_type"):
            return huggingface.from_arrays(folder, named, source)
        raise UserError(
            f"{file} holds a model by transformers' names, of which config.json tells the sizes; put the model's "
            f"config.json into {folder}."
        )
    raise misplaced.arrays(foreign, source)


def _has_config(folder: Path, key: str) -> bool:
    """Tells whether the folder has a config.json of the kind that has this key."""
    return (folder / "config.json").is_file() and key in read_json(folder, "config.json")
