"""The one exception that speaks to the user."""


class UserError(Exception):
    """A mistake in what the user gave: one sentence that names the thing, the place and the remedy.

    The command line prints the sentence alone, without a traceback, and exits with status 1.
    """
