"""The model card of a run: what its repository on the Hugging Face hub says of it."""

import json
import re
from typing import NamedTuple

import numpy as np

from lift_jax.report import files
from lift_jax.report.files import RunFiles, percent
from lift_jax.text import printable

_SHOWN = 200
"""How many class names a card lists; the file of the run has all."""

_USE = """## Use

```
pip install lift-jax
```

```python
import lift_jax

model = lift_jax.load("{run}"{backbone})
probabilities = model.predict(["image.jpg"])
print(model.class_names[probabilities[0].argmax()])
```"""


class Origin(NamedTuple):
    """Where the backbone of a run is had from.

    Attributes:
        base_model: its id on the hub, None for one that is not there.
        licence: as its card states it; None if it is not known.
        is_packaged: whether it is part of lift_jax.
    """

    base_model: str | None
    licence: str | None
    is_packaged: bool


def make(run: RunFiles, repository: str, origin: Origin, calibration: str | None) -> str:
    """Writes the card of a run, as Markdown with the hub's header.

    Args:
        run: the evaluated run.
        repository: its id on the hub, OWNER/NAME.
        origin: where its backbone is had from.
        calibration: what its calibration has chosen and brought; None without one.
    """
    sections = [
        _header(origin),
        f"# {repository.partition('/')[2]}\n\n{_what(run)}",
        _use(repository, origin),
        _accuracy(run),
        _data(run),
        _calibration(calibration),
        _backbone(run, origin),
    ]
    return "\n\n".join(sections) + "\n"


def _header(origin: Origin) -> str:
    """Makes the lines that the hub reads; JSON is YAML as well."""
    values: dict[str, str | list[str]] = {
        "library_name": "lift_jax",
        "pipeline_tag": "image-classification",
        "tags": ["long-tailed-learning", "lift", "jax"],
    }
    if origin.base_model is not None:
        values["base_model"] = _unpinned(origin.base_model)
    lines = "\n".join(f"{key}: {json.dumps(value)}" for key, value in values.items())
    return f"---\n{lines}\n---"


def _what(run: RunFiles) -> str:
    known, best = run.record, run.results[run.headline]
    total, size = known.trainable_parameters, known.backbone["parameters"]
    trained = f"{total:,} parameters were trained beside the backbone's {size:,}" if total else "nothing was trained"
    return (
        f"An image classifier of {len(known.class_names):,} classes, made by lift_jax with the method "
        f"{_plain(run.config['method'])}: {trained}. {percent(best['accuracy'])} % of {int(best['num_examples']):,} "
        f"test images are recognised, {percent(best['mean_acc'])} % on average over classes."
    )


def _use(repository: str, origin: Origin) -> str:
    is_elsewhere = origin.base_model is None and not origin.is_packaged
    text = _USE.format(run=f"hf://{repository}", backbone=', backbone="FOLDER"' if is_elsewhere else "")
    return f"{text}\n\nFOLDER is the backbone's, which is not on the hub." if is_elsewhere else text


def _accuracy(run: RunFiles) -> str:
    columns = {title: run.results[section] for section, title in files.SECTIONS.items() if section in run.results}
    if run.record.zero_shot is not None:
        columns = {"zero-shot": run.record.zero_shot, **columns}
    rows = [["percent", *columns], ["---", *("---:" for _ in columns)]]
    for name, key in files.metric_rows(run):
        rows.append([name, *(percent(column.get(key, np.nan)) for column in columns.values())])
    return "## Accuracy\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _data(run: RunFiles) -> str:
    known, counts = run.record, np.asarray(run.record.train_counts)
    names = ", ".join(map(_plain, known.class_names[:_SHOWN]))
    more = len(known.class_names) - _SHOWN
    rest = f" and {more:,} more" if more > 0 else ""
    return (
        f"## Data\n\n{_plain(run.config['data']['name'])}: {counts.sum():,} training images, "
        f"{counts.max():,} to {counts.min():,} a class, and {sum(known.test_counts):,} test images.\n\n"
        f"The classes: {names}{rest}."
    )


def _calibration(calibration: str | None) -> str:
    if calibration is None:
        return "## Calibration\n\nThe probabilities are not calibrated."
    return f"## Calibration\n\nThe probabilities are calibrated.\n\n```\n{calibration}\n```"


def _backbone(run: RunFiles, origin: Origin) -> str:
    if origin.is_packaged:
        said = "A small CLIP that is part of lift_jax, and has its licence."
    elif origin.base_model is None:
        said = f"Its content hash begins with {run.record.backbone['hash'][:12]}; its owners state its licence."
    else:
        stated = f"its card states the licence {origin.licence}" if origin.licence else "its card states its licence"
        said = f"[{origin.base_model}](https://huggingface.co/{_unpinned(origin.base_model)}): {stated}."
    return f"## Backbone\n\n{said}"


def _unpinned(hub_id: str) -> str:
    return hub_id.partition("@")[0]


def _plain(text: str) -> str:
    """Escapes what Markdown would take for a sign."""
    return re.sub(r"([\\`*_\[\]<>|#&~$])", r"\\\1", printable(text))
