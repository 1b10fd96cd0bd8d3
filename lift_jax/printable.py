"""Names and values from a person's files, as they can be shown anywhere."""


def printable(text: object, most: int | None = 200) -> str:
    """Makes a text fit for one line of a terminal, a page or a picture.

    Args:
        text: the text, or a value whose `str` is meant.
        most: how many characters of the text are shown; what is too much is left out at the end. None shows all.

    Returns:
        The text, in which control characters, line breaks and bytes of a file's name that are no UTF-8 are escaped.
    """
    text = str(text)
    cut = text if most is None or len(text) <= most else text[: most - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in cut)
