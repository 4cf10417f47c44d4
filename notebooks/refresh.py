"""Runs the notebooks and saves their outputs; the tests run them in the same way.

    python notebooks/refresh.py           # all, with the judge of your settings or the default
    python notebooks/refresh.py 01 05     # those whose names begin with 01 or 05

Each runs in an empty folder with its own verdict store, so that its outputs do not depend on
earlier runs. The first picture of each is also written to docs/assets/notebooks/.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).resolve().parent
PICTURES = HERE.parent / "docs" / "assets" / "notebooks"
QUIET = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "PYTHONWARNINGS": "ignore:IProgress not found",
    "TQDM_DISABLE": "1",
}
"""No progress bars, and no requests to servers of the libraries."""

ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def notebooks() -> list[Path]:
    """All notebooks, in order."""
    return sorted(HERE.glob("[0-9][0-9]_*.ipynb"))


def execute(path: Path, folder: Path, env: Mapping[str, str]) -> Any:
    """Run a notebook, and return it with its outputs.

    Args:
        path: The notebook.
        folder: Its working folder, which also gets the verdict store and Jupyter's own files.
        env: Its environment.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=1800,
        kernel_name="python3",
        coalesce_streams=True,
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
    )
    own = {
        "RA_JUDGE_STORE": "verdicts.sqlite3",
        "IPYTHONDIR": ".ipython",
        "DSPY_CACHEDIR": ".dspy",
    }
    client.execute(
        env={**env, **QUIET, **{name: str(folder / place) for name, place in own.items()}}
    )
    return notebook


def tidy(notebook: Any) -> Any:
    """Remove what differs between runs and machines, and record a hash of the code."""
    for output in outputs(notebook):
        if "metadata" in output:
            output.metadata = {}
        for kind, content in output.get("data", {}).items():
            if kind == "image/png":
                output.data[kind] = smaller(content)
            elif kind.startswith("text/"):
                output.data[kind] = ADDRESS.sub("", content)
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
        "outputs_of": fingerprint(notebook),
    }
    return notebook


def smaller(picture: str) -> str:
    """A PNG in base64 with 256 colours, which are enough for a plot and a third of the size."""
    written = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB").quantize(256).save(
        written, "PNG", optimize=True
    )
    return base64.b64encode(written.getvalue()).decode()


def outputs(notebook: Any) -> Iterator[Any]:
    """Every output of every cell."""
    for cell in notebook.cells:
        yield from cell.get("outputs", [])


def fingerprint(notebook: Any) -> str:
    """A hash of the code cells."""
    code = "\0".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def pictures(notebook: Any) -> list[bytes]:
    """Its pictures, as PNG files."""
    found = [
        output.data["image/png"]
        for output in outputs(notebook)
        if "image/png" in output.get("data", {})
    ]
    return [base64.b64decode(picture) for picture in found]


def main(chosen: tuple[str, ...]) -> None:
    """Run the chosen notebooks and write them back."""
    for path in notebooks():
        if chosen and not path.name.startswith(chosen):
            continue
        print(path.name, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            notebook = tidy(execute(path, Path(folder), os.environ))
        nbformat.write(notebook, path)
        PICTURES.mkdir(parents=True, exist_ok=True)
        (PICTURES / f"{path.stem}.png").write_bytes(pictures(notebook)[0])


if __name__ == "__main__":
    main(tuple(sys.argv[1:]))
