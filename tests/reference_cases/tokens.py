"""tokens.json: prompts to token ids, without the start and the end token."""

from reference_cases import models
from reference_cases.case import Case


def check(case: Case) -> None:
    prompts = case.options()
    for backbone in models.all_of(case.root):
        assert backbone.tokenizer is not None
        tokens = backbone.tokenizer(list(prompts))
        for row, (prompt, expected) in zip(tokens, prompts.items(), strict=True):
            assert row[1 : 1 + len(expected)].tolist() == expected, prompt
            # The end token is the largest id; zeros follow it.
            assert row[1 + len(expected)] == row.max() and not row[2 + len(expected) :].any(), prompt
