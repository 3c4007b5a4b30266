"""Draw the pictures of the documentation: ``python docs/pictures.py``.

They are of the real ImageNet classifier that ``make demo`` builds, and of scikit-image's photo of
the cat Chelsea. What they show goes with the versions of the libraries: look before you commit.
"""

from __future__ import annotations

import json
from pathlib import Path

from onnxplain.clients.demo.efficientnet_lite0 import build, preprocessing_json
from onnxplain.explainers import load
from onnxplain.explainers.rendering import contact_sheet
from skimage import data

IMAGES = Path(__file__).parent / "images"
SIDE = 260
COMPOSITES = (
    "epsilon", "epsilon_plus", "epsilon_plus_flat", "epsilon_alpha2_beta1",
    "epsilon_alpha2_beta1_flat", "epsilon_gamma_box", "alpha1_beta0", "alpha2_beta1", "gamma",
    "flat_epsilon",
)  # fmt: skip
OTHERS = (
    ("deep_taylor", {}),
    ("excitation_backprop", {}),
    ("excitation_backprop", {"contrastive": True}),
    ("deep_lift", {"baseline": "blur"}),
    ("deep_lift", {"baseline": "blur", "variant": "reveal_cancel"}),
)


def main() -> None:
    """Write ``images/composites.png``."""
    model = load(build(), preprocessing=json.loads(preprocessing_json()), name="efficientnet_lite0")
    calls = [("lrp", {"composite": composite}) for composite in COMPOSITES]
    tiles = []
    for method, options in [*calls, *OTHERS]:
        found = model.explain(data.chelsea(), method=method, **options)
        given = ", ".join(f"{name}={value}" for name, value in options.items())
        caption = f"{method} {given}".strip()
        tile = found.overlay(colour_bar=False, opacity=1.0).resize((SIDE, SIDE))
        tiles.append((tile, caption))
    sheet = contact_sheet(tiles, columns=5, title="Chelsea, tiger cat: relevance by composite")
    sheet.quantize(256).save(IMAGES / "composites.png", optimize=True)


if __name__ == "__main__":
    main()
