"""What an input is, what the program makes of it, and whether that is right."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple

Attempt = Callable[[Path], Any]
"""Writes an input into an empty folder, gives it to the program, and returns the answer as plain Python values."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One input to the program, good or bad.

    Attributes:
        says: what was spoilt, for the reader; of a valid input, what it is. Valid inputs are known by it.
        attempt: gives the input to the program. It runs in a process of its own.
        accepted: the answers that are right; none if the input must be refused.
        names: what was spoilt: a sentence must contain one of them.
        mentions: where the answer is right, the output must contain one of them too; none are needed if it is empty.
        valid: the same input without the fault; its answer is known.
    """

    says: str
    attempt: Attempt
    accepted: tuple[Any, ...] = ()
    names: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()
    valid: "Case | None" = None


class Outcome(NamedTuple):
    """How the program answered an input.

    Attributes:
        kind: "sentence" (a `UserError`), "answer", "traceback" (any other exception), or how the process ended that
            gave none of these: "time" and "memory" if it went over a limit, or "died".
        text: the sentence, the answer or the exception.
        right: whether the answer is one of those accepted.
        output: what the process wrote to standard output and standard error.
    """

    kind: Literal["sentence", "answer", "traceback", "time", "memory", "died"]
    text: str
    right: bool = False
    output: str = ""


Verdict = Literal["a sentence", "accepted and right", "anything else"]


def judge(case: Case, outcome: Outcome) -> tuple[Verdict, str]:
    """Gives the verdict on an outcome, and the reason if it is "anything else"."""
    match outcome.kind:
        case "sentence":
            if "\n" in outcome.text:
                return "anything else", f"a sentence of several lines: {outcome.text!r}"
            if not case.names:
                return "anything else", f"a valid input was refused: {outcome.text}"
            if not any(name in outcome.text for name in case.names):
                return "anything else", f"a sentence without {' or '.join(case.names)}: {outcome.text}"
            return "a sentence", ""
        case "answer":
            if not outcome.right:
                return "anything else", f"accepted, but the answer is {outcome.text}"
            if case.mentions and not any(word in outcome.output for word in case.mentions):
                return "anything else", f"accepted without a word of {' or '.join(case.mentions)}"
            return "accepted and right", ""
        case _:
            return "anything else", f"{outcome.kind}: {outcome.text}"


class Setting(NamedTuple):
    """The files that the inputs are made from; nobody changes them.

    Attributes:
        photos: a folder of pictures, PHOTOS/CLASS/IMAGE.png.
        backbone: a CLIP in the Hugging Face layout.
        run: a finished run on both, which has been exported too.
        known: what is known of them (see `lift_jax.bench.abuse.setting`).
    """

    photos: Path
    backbone: Path
    run: Path
    known: dict[str, Any]


Production = Callable[[Random, Setting], Case]
"""A rule of a grammar, which draws an input."""


class Grammar(NamedTuple):
    """The grammar from which the inputs of one kind are drawn.

    Attributes:
        name: what the kind is called.
        productions: the rules, which take turns.
    """

    name: str
    productions: Sequence[Production]

    def case(self, index: int, seed: int, setting: Setting) -> Case:
        """Draws an input: `seed` and `index` decide which."""
        production = self.productions[index % len(self.productions)]
        return production(Random(f"{seed} {self.name} {index}"), setting)
