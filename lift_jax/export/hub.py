"""Puts a run on the Hugging Face hub, for others to load."""

import tempfile
from pathlib import Path

import huggingface_hub
from huggingface_hub import errors

from lift_jax.errors import UserError, first_line
from lift_jax.files import place
from lift_jax.inference import calibration_summary, compact, hub
from lift_jax.inference.load import load
from lift_jax.inference.model import Model
from lift_jax.report import files, model_card
from lift_jax.weights import known, source


def push(
    workdir: str, repository: str, *, private: bool = False, checkpoint: str | None = None, backbone: str | None = None,
    raw: bool = False,
) -> str:  # fmt: skip
    """Puts what a run has trained into a repository, with a model card; `lift_jax.load("hf://OWNER/NAME")` loads it.

    What was uploaded before a failure is not uploaded again, and nobody sees the repository's files change before all
    of the new ones are there.

    Args:
        workdir: the folder of the evaluated run.
        repository: OWNER/NAME, which is made if it is not there.
        private: whether a repository that is made is seen by its owner alone.
        checkpoint, backbone, raw: see `lift_jax.load`.

    Returns:
        The address of the repository.

    Raises:
        UserError: if there is no token, the run has not been evaluated, or the hub does not take it.
    """
    repository = hub.check_repository(repository)
    if huggingface_hub.get_token() is None:
        raise UserError(
            "The Hugging Face hub asks who you are, and there is no token on this machine; write `hf auth login`, or "
            "set HF_TOKEN to a token that may write."
        )
    run = files.read(place(workdir, "--workdir"))
    model = load(workdir, checkpoint=checkpoint, backbone=backbone, raw=raw)
    model.require_one_label("lift_jax push")
    card = _card(run, model, repository)
    with tempfile.TemporaryDirectory() as folder:
        written = compact.write(model, Path(folder))
        try:
            return _upload(repository, written, card, private)
        except Exception as error:  # the hub's client, the network and the disk have no common base
            raise UserError(
                f"The run was not uploaded to {repository} ({_why(error)}); started again, it goes on with what is "
                "missing."
            ) from error


def _upload(repository: str, file: Path, card: str, private: bool) -> str:
    api = huggingface_hub.HfApi()
    address = api.create_repo(repository, private=private, exist_ok=True)
    operations = [
        huggingface_hub.CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=str(file)),
        huggingface_hub.CommitOperationAdd(path_in_repo="README.md", path_or_fileobj=card.encode()),
    ]
    api.create_commit(repository, operations, commit_message="Upload a run of lift_jax")
    return str(address)


def _card(run: files.RunFiles, model: Model, repository: str) -> str:
    name = source.plain_name(model.config.backbone)
    licences = {each.hub: each.licence for each in known.BACKBONES if each.licence != known.ASK}
    origin = model_card.Origin(
        base_model=name if source.is_hub_id(name) else None,
        licence=licences.get(name.partition("@")[0]),
        is_packaged=name == source.QUICKSTART,
    )
    made = model.calibration
    return model_card.make(run, repository, origin, None if made is None else calibration_summary.describe(made))


def _why(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return "the token may not write there"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    return first_line(error).rstrip(".")
