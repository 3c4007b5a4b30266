"""A photo explained over gRPC by several methods: what the demo does."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnxplain.clients.python import Client, Result
from PIL import Image

from .model_repository import MODEL_NAME, model_repository
from .server_process import running_server

__all__ = ["METHODS", "tour"]

METHODS = ("cam", "grad_cam", "saliency", "lime")

_SECONDS_A_CALL = 600.0
_NODE_CLIENT = Path(__file__).parent.parent / "node" / "explain.mjs"


def tour(folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Explain scikit-image's cat by every one of `METHODS`, asking a server that runs meanwhile.

    Parameters
    ----------
    folder
        Takes a PNG for each method, ``contact_sheet.png``, the photo, the models and the server's
        log. A model that lies there already is used again.
    say
        Told what is going on.

    Returns
    -------
    dict
        ``explanations``, each with its method, target, label, score, milliseconds and file; the
        file of the ``contact_sheet``; the words of the client in ``node``, or ``None``.

    Raises
    ------
    ModuleNotFoundError
        The weights are not installed.
    ServerError
        The server did not start or stop as it should.
    ExplainError
        It did not answer as it should.
    """
    folder.mkdir(parents=True, exist_ok=True)
    repository = model_repository(folder / "models", say)
    photo = _photo(folder / "chelsea.png")
    results = []
    with running_server(repository, folder / "server.log") as address:
        say(f"the server listens on {address}")
        with Client(address, timeout=_SECONDS_A_CALL) as client:
            for method in METHODS:
                found = client.explain(photo, model=MODEL_NAME, method=method, overlay=True)
                results += found if isinstance(found, list) else [found]
        by_node = _by_node(address, photo, folder / "node.png")
    say("the server has stopped")
    sheet = folder / "contact_sheet.png"
    _contact_sheet(photo, results).save(sheet, optimize=True)
    return {
        "explanations": [_written(result, folder) for result in results],
        "contact_sheet": str(sheet),
        "node": by_node,
    }


def _photo(path: Path) -> Path:
    from skimage import data

    chelsea: Callable[[], npt.NDArray[np.uint8]] = data.chelsea
    Image.fromarray(chelsea()).save(path)
    return path


def _written(result: Result, folder: Path) -> dict[str, Any]:
    """Write a result's picture; return what the table says of it."""
    path = folder / f"{result.method}.png"
    path.write_bytes(result.overlay_png or b"")
    return {
        "method": result.method,
        "target": result.target,
        "label": result.label,
        "score": result.score,
        "score_kind": result.score_kind,
        "milliseconds": round(result.provenance.timings_ms["total"], 3),
        "file": str(path),
    }


def _contact_sheet(photo: Path, results: Iterable[Result]) -> Image.Image:
    from onnxplain.explainers.rendering import contact_sheet

    tiles = [
        (Image.open(io.BytesIO(result.overlay_png or b"")), f"{result.method}: {result.label}")
        for result in results
    ]
    prediction = next(iter(results)).prediction
    seen = ", ".join(f"{one.label} {one.probability:.0%}" for one in prediction.top[:3])
    return contact_sheet(
        [(_seen(photo, tiles[0][0].height), seen), *tiles], columns=len(METHODS) + 1
    )


def _seen(photo: Path, side: int) -> Image.Image:
    """Return the part of the photo that the model sees, at the size of the overlays."""
    from onnxplain.explainers import Preprocessing
    from onnxplain.explainers.images import decode

    from .efficientnet_lite0 import preprocessing_json

    picture = Preprocessing.from_json(preprocessing_json()).picture(decode(photo))
    return Image.fromarray(picture).resize((side, side))


def _by_node(address: str, photo: Path, picture: Path) -> str | None:
    """Ask with the client in Node, where Node and the client's packages are; return its words."""
    node = shutil.which("node")
    if node is None or not (_NODE_CLIENT.parent / "node_modules").is_dir():
        return None
    command = [node, str(_NODE_CLIENT), address, MODEL_NAME, str(photo), str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return (done.stdout or done.stderr).strip()
