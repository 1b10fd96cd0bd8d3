"""A run as a service: what it answers to right and to wrong requests, and to many at once."""

import base64
import concurrent.futures
import csv
import io
import json
import shutil
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import small_runs
import started_commands
from PIL import Image
from service_requests import ask, browsed, form, get, served

import lift_jax
from lift_jax.bench import serve as bench
from lift_jax.data.digits import load_digits
from lift_jax.errors import UserError
from lift_jax.inference.predictions import Prediction
from lift_jax.inference.serving import server
from lift_jax.inference.serving.batching import Batcher, FullError, NamedImage
from lift_jax.inference.serving.limits import Limits
from lift_jax.predict import predict_files

pytest.importorskip("fastapi")
from lift_jax.inference.serving.app import PAGE, make

pytest.importorskip("uvicorn")

LIMITS = Limits(images=8, request_bytes=1 << 20, waiting=400, read_seconds=1.0)


@pytest.fixture(scope="module")
def workdir(tiny_folder, tmp_path_factory) -> Path:
    return small_runs.zero_shot_run(tiny_folder, tmp_path_factory.mktemp("served") / "run")


@pytest.fixture(scope="module")
def model(workdir):
    return lift_jax.load(workdir)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("digits")
    _, test = load_digits(50)
    for i in range(4):
        Image.fromarray(np.asarray(test.source[i])).save(folder / f"{i}.png")
    (folder / "broken.png").write_bytes(b"no image")
    return [*(folder / f"{i}.png" for i in range(4)), folder / "broken.png"]


@pytest.fixture(scope="module")
def address(model) -> Iterator[tuple[str, int]]:
    app, batcher = server.application(model, top_k=3, batch_size=4, limits=LIMITS)
    with served(app) as address:
        yield address
    batcher.close()


def test_files_of_a_form_are_answered_as_predict_answers(address, model, files):
    status, answer = ask(address, *form([(str(file), file.read_bytes()) for file in files]))
    assert status == 200 and len(answer["results"]) == len(files)
    for result, expected in zip(answer["results"], predict_files(model, list(map(str, files)), top_k=3), strict=True):
        assert result["path"] == expected.path
        if expected.problem is not None:
            assert result == {"path": expected.path, "error": expected.problem}
            continue
        assert [each["label"] for each in result["predictions"]] == expected.labels
        assert [each["class"] for each in result["predictions"]] == [model.class_names[i] for i in expected.labels]
        found = [each["probability"] for each in result["predictions"]]
        np.testing.assert_allclose(found, expected.probabilities, atol=1e-6)


def test_one_image_as_the_body_is_answered_as_in_a_form(address, files):
    content = files[0].read_bytes()
    alone = ask(address, content)
    assert alone == ask(address, *form([("image", content)])) and alone[0] == 200


def test_where_no_image_can_be_read_the_status_says_so(address):
    status, answer = ask(address, b"no image")
    assert status == 422 and answer["results"][0]["error"].startswith("image is no image of a kind that is read")


def test_a_name_is_never_opened(address, files):
    status, answer = ask(address, *form([(str(files[0]), b"no image")]))
    assert status == 422 and "no image of a kind" in answer["results"][0]["error"]


def test_an_image_of_too_many_pixels_is_refused(address):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    status, answer = ask(address, bomb)
    assert status == 422 and "50000 x 50000 pixels, more than" in answer["results"][0]["error"]


def test_ten_thousand_files_are_refused(address):
    status, answer = ask(address, *form([("a.png", b"x")] * 10_000))
    assert status == 413 and "more than the 8 images" in answer["error"]


def test_as_many_files_as_the_limit_are_accepted(address, files):
    status, answer = ask(address, *form([("a.png", files[0].read_bytes())] * LIMITS.images))
    assert status == 200 and len(answer["results"]) == LIMITS.images


@pytest.mark.parametrize(
    "body", [b"x" * (LIMITS.request_bytes + 1), iter([b"x" * 600_000] * 2)], ids=["told", "chunks"]
)
def test_too_many_bytes_are_refused(address, body):
    status, answer = ask(address, body)
    assert status == 413 and "more than the 1,048,576 bytes" in answer["error"]


@pytest.mark.parametrize(
    ("body", "headers"), [(b"", {}), form([]), (b"--edge\r\nnonsense", {"Content-Type": "multipart/form-data"})]
)
def test_a_request_without_an_image_is_told(address, body, headers):
    status, answer = ask(address, body, headers)
    assert status == 400 and answer["error"].startswith(("There is no image;", "The form of the request is broken"))


def test_a_request_that_does_not_end_is_given_up(address):
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nxyz")
        answer = connection.recv(10_000).decode()
    assert "408" in answer.splitlines()[0] and "within 1 seconds" in answer


def test_two_hundred_requests_at_once_lose_nothing(address, model, files):
    contents = [file.read_bytes() for file in files[:4]]
    expected = [each.labels for each in predict_files(model, list(map(str, files[:4])), top_k=3)]
    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(lambda i: ask(address, contents[i % 4]), range(200)))
    for i, (status, answer) in enumerate(answers):
        assert status == 200
        assert [each["label"] for each in answer["results"][0]["predictions"]] == expected[i % 4]


def test_the_state_the_page_and_the_description(address):
    for path, status in ("/healt", 404), ("/predict", 405):
        response, text = get(address, path)
        sentence = f"There is no GET {path}; ask POST /predict, GET /health or GET /."
        assert (response.status, json.loads(text)) == (status, {"error": sentence})
    health = json.loads(get(address, "/health")[1])
    assert health["status"] == "ok" and health["classes"] == 10 and health["max_images"] == LIMITS.images
    response, page = get(address, "/")
    assert response.status == 200 and "default-src 'none'" in str(response.getheader("Content-Security-Policy"))
    assert "http://" not in page and "https://" not in page  # it asks nobody else
    described = json.loads(get(address, "/openapi.json")[1])
    assert set(described["paths"]) == {"/health", "/predict"}
    assert get(address, "/../../etc/passwd")[0].status == 404


def test_the_measurement_loses_nothing(address, files):
    measured = bench.measure(f"http://{address[0]}:{address[1]}", [files[0].read_bytes()], requests=20, at_once=5)
    assert measured.answered == 20 and 0 < measured.p50 <= measured.p99


TRIED = """<script>
const picture = (code) => fetch(code).then((answer) => answer.blob());
picture("GOOD").then((blob) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([blob], "<b>wren</b>.png"));
  transfer.items.add(new File(["no image"], "notes.txt"));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
  pending.then(() => document.body.append(element("pre", csv())));
});
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="the page is looked at with Chromium")
def test_the_page_shows_and_saves_what_a_browser_drops_on_it(model, files, tmp_path):
    app, batcher = server.application(model, top_k=3, batch_size=4, limits=LIMITS)
    code = f"data:image/png;base64,{base64.b64encode(files[0].read_bytes()).decode()}"
    shown = browsed(app, PAGE.read_text() + TRIED.replace("GOOD", code), tmp_path)
    batcher.close()
    assert "2 of 2 images are answered." in shown and "A classifier of 10 classes" in shown
    (expected,) = predict_files(model, [str(files[0])], top_k=3)
    assert "<h2>&lt;b&gt;wren&lt;/b&gt;.png</h2>" in shown
    for label, p in zip(expected.labels, expected.probabilities, strict=True):
        assert f'<th scope="row">{model.class_names[label]}</th><td>{100 * p:.1f} %</td>' in shown
    rows = list(csv.DictReader(io.StringIO(shown.partition("<pre>")[2].partition("</pre>")[0])))
    assert [row["class"] for row in rows] == [*(model.class_names[label] for label in expected.labels), ""]
    assert rows[-1]["error"].startswith("notes.txt is no image of a kind that is read")


class TestBatcher:
    def test_images_that_wait_become_one_batch(self):
        begun, busy, sizes = threading.Event(), threading.Event(), []

        def answer(images):
            begun.set()
            busy.wait(30)
            sizes.append(len(images))
            return [Prediction(image.name, [0], [1.0]) for image in images]

        batcher = Batcher(answer, 4, most=8)
        image = NamedImage("first", b"")
        first = batcher.submit([image])
        assert begun.wait(30)
        futures = [future for i in range(4) for future in batcher.submit([NamedImage(f"{i}", b""), image])]
        with pytest.raises(FullError):
            batcher.submit([image])
        futures[7].cancel()
        busy.set()
        batcher.close()
        assert sizes == [1, 4, 3]
        assert [future.result().path for future in [*first, *futures[:7:2]]] == ["first", "0", "1", "2", "3"]

    def test_a_failure_is_that_of_its_batch_alone(self):
        def answer(images):
            if images[0].content:
                raise ValueError("broken")
            return [Prediction(image.name, [0], [1.0]) for image in images]

        batcher = Batcher(answer, 1, most=8)
        (bad,), (good,) = batcher.submit([NamedImage("a", b"x")]), batcher.submit([NamedImage("b", b"")])
        batcher.close()
        assert good.result().path == "b"
        with pytest.raises(ValueError, match="broken"):
            bad.result()


def test_a_model_that_fails_and_a_full_queue_are_told(files):
    def fail(images):
        raise ValueError("broken")

    for most, expected in (8, (500, "The model has failed")), (0, (503, "Too many images are waiting")):
        batcher = Batcher(fail, 4, most=most)
        with served(make(batcher, ["a"], LIMITS)) as address:
            status, answer = ask(address, files[0].read_bytes())
        batcher.close()
        assert status == expected[0] and answer["error"].startswith(expected[1])


def test_a_port_in_use_is_told_before_the_run_is_loaded(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"127\.0\.0\.1 port {port} \(Address already in use\); name another"):
            server.serve(str(tmp_path), port=port)


@pytest.mark.parametrize(("port", "words"), [(70_000, "from 0 to 65535"), (-1, "from 0 to 65535")])
def test_a_port_that_cannot_be_is_told(port, words):
    with pytest.raises(UserError, match=words):
        server.serve("nowhere", port=port)


def test_unknown_and_sets_take_a_calibrated_run(model):
    with pytest.raises(UserError, match="--coverage takes a calibrated run"):
        server.application(model, coverage=0.9)


def test_without_its_packages_the_command_names_them(tmp_path):
    for name in "fastapi", "uvicorn":
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError(name={name!r})")
    code = "import sys; sys.path.insert(0, '.'); from lift_jax import serve; sys.exit(serve.main(['--workdir', 'x']))"
    (tmp_path / "started.py").write_text(code)
    done = started_commands.start("started", cwd=tmp_path)
    assert done.returncode == 1
    assert "needs the package fastapi, which is not installed; pip install 'lift-jax[serve]'." in done.stderr
