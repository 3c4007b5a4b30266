"""Reference values of the established libraries, and the models they are of."""

import json
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"
INDEX = json.loads((GOLDEN / "index.json").read_text("utf-8"))
