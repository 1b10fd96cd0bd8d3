"""The nearest training images that a service shows: the right ones, safely, and none where the data are gone."""

import base64
import json
import shutil
from pathlib import Path

import pytest
import small_runs
from service_requests import ask, browsed, form, get, served

import lift_jax
from lift_jax import serve
from lift_jax.inference import nearest
from lift_jax.inference.serving import gallery, server

pytest.importorskip("fastapi")
from lift_jax.inference.serving.app import PAGE

CLASSES = ("<b>wren", "ro'bin & co")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Eight training images of two classes whose names a page has to escape."""
    root = tmp_path_factory.mktemp("birds")
    small_runs.write_digits(root, CLASSES, train=4, test=1, name="<i>{}.png")
    return root


@pytest.fixture(scope="module")
def workdir(root, tiny_folder, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("served") / "run"
    return small_runs.zero_shot_run(tiny_folder, workdir, format="folder", root=str(root), name="birds")


@pytest.fixture(scope="module")
def model(workdir):
    return lift_jax.load(workdir)


def test_answers_name_and_show_them(model, workdir, root):
    asked = root / "train" / "ro'bin & co" / "<i>2.png"
    own = nearest.store_of(workdir)
    app, batcher = server.application(model, batch_size=2, nearest=3, own=own)
    assert own is not None and any(own.iterdir())
    with served(app) as address:
        health = json.loads(get(address, "/health")[1])
        # What a client calls its image opens nothing.
        images = [("/etc/passwd", asked.read_bytes()), ("broken.png", b"no image"), ("b.png", asked.read_bytes())]
        status, answer = ask(address, *form(images))
    batcher.close()
    assert status == 200 and health["nearest"] == 3 and health["no_nearest"] is None
    first, broken, last = answer["results"]
    assert "error" in broken and len(first["nearest"]) == len(last["nearest"]) == 3
    for found in first["nearest"][0], last["nearest"][0]:
        assert (found["path"], found["class"], found["label"]) == ("train/ro'bin & co/<i>2.png", CLASSES[1], 1)
        assert found["similarity"] == pytest.approx(1)
        assert found["picture"].startswith("data:image/jpeg;base64,")


def test_without_the_option_nothing_is_said_of_them(model, root):
    app, batcher = server.application(model, batch_size=1)
    with served(app) as address:
        health = json.loads(get(address, "/health")[1])
        _, answer = ask(address, next(root.rglob("*.png")).read_bytes())
    batcher.close()
    assert health["nearest"] == 0 and health["no_nearest"] is None and "nearest" not in answer["results"][0]


def test_where_the_data_are_gone_all_else_is_answered(model, root, capsys):
    image = next(root.rglob("*.png")).read_bytes()
    root.rename(root.with_name("gone"))
    try:
        app, batcher = server.application(model, batch_size=1, nearest=3)
    finally:
        root.with_name("gone").rename(root)
    with served(app) as address:
        health = json.loads(get(address, "/health")[1])
        status, answer = ask(address, image)
    batcher.close()
    assert status == 200 and "nearest" not in answer["results"][0] and answer["results"][0]["predictions"]
    assert health["nearest"] == 0 and health["no_nearest"] == gallery.ABSENT
    assert (
        f"warning: No training images are shown. config.data.root is {root}" in capsys.readouterr().err
        and str(root) not in health["no_nearest"]
    )


@pytest.mark.parametrize("count", ["-1", "51"])
def test_a_number_that_cannot_be_is_told(count, capsys):
    assert serve.main(["--workdir", "run", "--nearest", count]) == 1
    assert f"--nearest is {count}; it is a whole number from 0 to 50." in capsys.readouterr().err


TRIED = """<script>
fetch("GOOD").then((answer) => answer.blob()).then(async (blob) => {
  await fetch("health");
  const transfer = new DataTransfer();
  transfer.items.add(new File([blob], "asked.png"));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
  await pending;
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  document.body.append(element("pre", csv()), element("p", `too wide by ${wide} pixels`));
});
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="the page is looked at with Chromium")
def test_the_page_shows_them(model, root, tmp_path):
    app, batcher = server.application(model, batch_size=1, nearest=8)
    content = (root / "train" / "ro'bin & co" / "<i>2.png").read_bytes()
    code = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    page = browsed(app, PAGE.read_text() + TRIED.replace("GOOD", code), tmp_path, "--window-size=360,800")
    batcher.close()
    shown = page.partition('<ul class="nearest">')[2].partition("</ul>")[0]
    assert shown.count("<li>") == shown.count('src="data:image/jpeg;base64,') == 8
    first = shown.partition("</li>")[0]
    assert '<img alt="Training image train/ro\'bin &amp; co/<i>2.png"' in first.replace("&lt;", "<").replace(
        "&gt;", ">"
    )
    assert "<figcaption>ro'bin &amp; co<span>1.00</span>" in first
    assert "<figcaption>&lt;b&gt;wren<span>" in shown and "<b>wren" not in shown
    assert "too wide by 0 pixels" in page
    assert "train/ro'bin &amp; co/&lt;i&gt;2.png (ro'bin &amp; co, 1.00); " in page
