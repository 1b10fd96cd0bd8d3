"""The page of `python -m lift_jax.review`, on which a person decides, and the table beside it."""

import csv
import html
import io
from collections.abc import Sequence
from pathlib import Path

from etils import epath

from lift_jax.data import thumbnails
from lift_jax.errors import UserError
from lift_jax.evaluation.findings import Finding, Pixels, Review
from lift_jax.files import check_file, replacing, writing
from lift_jax.report import page
from lift_jax.text import printable

PAGE, TABLE = "review.html", "review.csv"
_REMEDY = "name another folder with --output"
_COLUMNS = ("kind", "image", "given", "suggested", "score", "beside", "where")

_STYLE = """<style>
.cases { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem; }
fieldset { border: 1px solid var(--grid); border-radius: 6px; margin: 0; padding: .75rem; min-width: 0; }
fieldset:focus-within { border-color: var(--many); }
fieldset img { width: 9rem; max-width: 48%; height: auto; border-radius: 4px; }
fieldset p, fieldset label { overflow-wrap: anywhere; display: block; margin: .25rem 0; }
button { font: inherit; padding: .5rem 1rem; margin: 1rem 1rem 0 0; }
</style>"""

_SCRIPT = """<script>
"use strict";
const names = new Set(Array.from(document.querySelectorAll("#classes option"), option => option.value));
const quoted = text => '"' + text.replaceAll('"', '""') + '"';
for (const form of document.querySelectorAll("form")) {
  const said = form.querySelector("output");
  form.addEventListener("input", event => {
    if (event.target.matches("input[list]")) {
      event.target.closest("fieldset").querySelector("input[value=other]").checked = true;
    }
  });
  form.addEventListener("submit", event => {
    event.preventDefault();
    const labels = new Map();
    for (const field of form.querySelectorAll("fieldset")) {
      const chosen = field.querySelector("input[type=radio]:checked");
      if (!chosen) continue;
      const other = field.querySelector("input[list]");
      const label = chosen.value === "other" ? other.value : chosen.dataset.label;
      const image = field.dataset.image;
      if (chosen.value === "other" && !names.has(label)) {
        said.value = "There is no class '" + label + "': choose one of the list.";
        other.focus();
        return;
      }
      if (labels.has(image) && labels.get(image) !== label) {
        said.value = image + " is decided about in two ways.";
        chosen.focus();
        return;
      }
      labels.set(image, label);
    }
    if (!labels.size) {
      said.value = "Nothing is decided yet.";
      return;
    }
    const lines = ["image,label", ...Array.from(labels, pair => pair.map(quoted).join(","))];
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\\r\\n") + "\\r\\n"], {type: "text/csv"}));
    link.download = form.dataset.file;
    link.click();
    said.value = form.dataset.file + " has the decisions about " + labels.size + " images.";
  });
}
</script>"""


def write(found: Review, folder: epath.PathLike, top: int = 100) -> epath.Path:
    """Writes the page and the table into a folder, and returns the page's file.

    Args:
        found: what a person should look at.
        folder: gets review.html, and review.csv with all findings.
        top: how many findings of each kind the page shows.

    Raises:
        UserError: if the files cannot be written.
    """
    file, table = epath.Path(folder) / PAGE, epath.Path(folder) / TABLE
    with writing(file, _REMEDY):
        file.parent.mkdir(parents=True, exist_ok=True)
        for each in file, table:
            check_file(each, _REMEDY)
        for each, content in (table, _table(found)), (file, _page(found, top)):
            with replacing(each) as part:
                part.write_bytes(content.encode("utf-8", "backslashreplace"))
    return file


def _table(found: Review) -> str:
    """Makes the table of all findings."""
    kinds = {"label": found.suspected, "copy": found.copies, "uncertain": found.uncertain}
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(_COLUMNS)
    for kind, findings in kinds.items():
        for each in findings:
            rows.writerow([kind, each.image, each.given, each.suggested, f"{each.score:.6f}", each.beside, each.where])
    return file.getvalue()


def _page(found: Review, top: int) -> str:
    intro = page.paragraph(
        "Decide where you are sure; what you leave open stays as it is. The tab key goes from image to image, the "
        "arrow keys choose. The buttons save the decisions as CSV files."
    )
    options = "".join(f'<option value="{html.escape(name)}"></option>' for name in found.class_names)
    suspected = _section(
        "Labels that look wrong",
        f"Training images that are confidently of another class than their label. {found.method}",
        found.suspected,
        [_case(each, f"label-{rank}", _label_choices(each)) for rank, each in enumerate(found.suspected[:top])],
    )
    copies = _section(
        "Copies",
        "Training images that are nearly the same as another one, pixel by pixel. Copies of test images make the test "
        "accuracy too high.",
        found.copies,
        [_case(each, f"copy-{rank}", _copy_choices(each)) for rank, each in enumerate(found.copies[:top])],
    )
    uncertain = _section(
        "New images of which the run is the least certain",
        "The probabilities are the run's.",
        found.uncertain,
        [_case(each, f"new-{rank}", _new_choices(each)) for rank, each in enumerate(found.uncertain[:top])],
    )
    forms = [_form(suspected + copies, "corrections.csv", "The next training applies it as config.data.corrections.")]
    if found.uncertain:
        forms.append(_form(uncertain, "labels.csv", "It is a table of labelled images, to calibrate the run by."))
    ending = f'{_STYLE}<datalist id="classes">{options}</datalist>{_SCRIPT}'
    return page.page(found.title, intro, [*forms, ending])


def _section(title: str, text: str, findings: Sequence[Finding], cases: Sequence[str]) -> str:
    more = f" Of {len(findings):,}, the first {len(cases):,} are shown." if len(cases) < len(findings) else ""
    none = "" if findings else page.paragraph("None.")
    body = f'{page.paragraph(text + more)}{none}<div class="cases">{"".join(cases)}</div>'
    return page.section(title, body, "wide long")


def _form(body: str, file: str, text: str) -> str:
    """Puts lists of images above the button that saves what is decided about them."""
    button = f'<button type="submit">Save {file}</button><output aria-live="polite"></output>'
    return f'<form data-file="{file}" autocomplete="off">{body}{page.paragraph(text, "muted")}{button}</form>'


Choice = tuple[str, str, str]
"""What a person can decide: the value of the button, what stands beside it, and the label that is written."""


def _label_choices(found: Finding) -> list[Choice]:
    return [
        ("right", f"right: {found.given}", found.given),
        ("suggested", f"wrong: it is {found.suggested}", found.suggested),
        ("other", "wrong: it is", ""),
        ("drop", "leave it out", ""),
    ]


def _copy_choices(found: Finding) -> list[Choice]:
    return [("right", "keep it", found.given), ("drop", "leave the training image out", "")]


def _new_choices(found: Finding) -> list[Choice]:
    return [("suggested", f"it is {found.suggested}", found.suggested), ("other", "it is", "")]


def _case(found: Finding, name: str, choices: Sequence[Choice]) -> str:
    """Makes the pictures, what is known, and the choices."""
    pictures = "".join(
        _picture(read, path) for read, path in zip(found.pictures, (found.image, found.beside), strict=False)
    )
    if found.beside:
        known = f"{found.given}; {100 * found.score:.0f} % like {found.beside} ({found.where}: {found.suggested})"
    elif found.given:
        known = f"labelled {found.given}, which has a probability of {100 * found.score:.1f} %"
    else:
        known = f"{found.suggested} has a probability of {100 * found.score:.1f} %"
    text = "".join(f"<p>{_text(line)}</p>" for line in (found.image, known))
    radios = "".join(_radio(name, choice) for choice in choices)
    legend = f'<legend class="muted">{_text(Path(found.image).name)}</legend>'
    return f'<fieldset data-image="{html.escape(found.image)}">{legend}{pictures}{text}{radios}</fieldset>'


def _radio(name: str, choice: Choice) -> str:
    value, text, label = choice
    field = f'<label><input type="radio" name="{name}" value="{value}" data-label="{html.escape(label)}"> {_text(text)}'
    if value == "other":
        return f'{field}</label><input list="classes" aria-label="the right class">'
    return f"{field}</label>"


def _picture(read: Pixels, path: str) -> str:
    try:
        uri = thumbnails.data_uri(thumbnails.thumbnail(read()))
    except UserError:  # it was there a moment ago
        return ""
    return f'<img src="{uri}" alt="{_text(path)}" width="160" height="160"> '


def _text(text: str) -> str:
    return html.escape(printable(text, None), quote=True)
