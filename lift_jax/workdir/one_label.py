"""What is made for runs whose images are of one class each."""

from typing import Any

from lift_jax.errors import UserError


def require(config: Any, what: str, instead: str = "") -> None:
    """Refuses a run whose images have several labels.

    Args:
        config: of the run.
        what: what is asked for, at the beginning of the sentence.
        instead: what else there is.

    Raises:
        UserError: if `config.task` is another than multiclass.
    """
    if config.task != "multiclass":
        raise UserError(
            f"{what} is for runs whose images are of one class each, and config.task of this run is {config.task}; "
            f"{instead or 'name another run'}."
        )
