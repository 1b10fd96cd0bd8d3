"""The notebook runs from its first cell to its last, on a kernel of this environment."""

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "own_images.ipynb"


def test_it_goes_from_images_to_a_report(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="notebooks are run by nbclient (tests/requirements.txt)")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1]))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs are not kept: a run makes them"
    for cell in notebook.cells:  # a short training
        cell.source = cell.source.replace("num_epochs = 15", "num_epochs = 2")
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    shown = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in data for data in shown) == 4
    assert (tmp_path / "runs" / "photos" / "report.html").stat().st_size > 10_000
    assert "test/" in notebook.cells[-2].outputs[0].text
