"""Why the Hugging Face hub does not give a file, in words."""

from huggingface_hub import errors as hub

from lift_jax.errors import first_line

_REASONS = (
    (hub.GatedRepoError, "its owners ask for consent: give it at https://huggingface.co/{repo}, then `hf auth login`"),
    (hub.RevisionNotFoundError, "the repository has no revision {revision}"),
    (hub.RepositoryNotFoundError, "there is no such repository, or it is private and asks for `hf auth login`"),
    (hub.LocalEntryNotFoundError, "the hub cannot be reached, and its cache on this machine lacks the model or a part"),
)


def why(error: Exception, repo: str, revision: str | None) -> str:
    """Says why the hub's client has failed.

    Args:
        error: what it raised; the client, the network and the disk have no common base.
        repo: the repository, OWNER/NAME.
        revision: its revision, None for the newest.
    """
    found = (text.format(repo=repo, revision=revision) for kind, text in _REASONS if isinstance(error, kind))
    return next(found, first_line(error))
