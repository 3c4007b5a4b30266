"""Regenerate the committed stubs beside the .proto files: ``make proto``.

The files are compiled under the virtual path ``onnxplain/proto``, so that generated imports are
absolute and no package called ``proto`` comes to be (that name is proto-plus's).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

__all__ = ["generate"]

HERE = Path(__file__).parent
VIRTUAL = "onnxplain/proto"


def generate(output: Path) -> list[Path]:
    """Write all stubs into ``output`` and return them."""
    files = [f"{VIRTUAL}/{path.name}" for path in sorted(HERE.glob("*.proto"))]
    scripts = Path(sysconfig.get_path("scripts"))
    with tempfile.TemporaryDirectory() as scratch:
        flags = [f"--{kind}_out={scratch}" for kind in ("python", "grpc_python")]
        for plugin in ("mypy", "mypy_grpc"):
            flags += [
                f"--plugin={scripts / f'protoc-gen-{plugin}'}",
                f"--{plugin}_out=quiet:{scratch}",
            ]
        subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", f"-I{VIRTUAL}={HERE}", *flags, *files],
            check=True,
            cwd=scratch,
        )
        return [
            Path(shutil.copy(stub, output))
            for source in sorted(HERE.glob("*.proto"))
            for suffix in ("_pb2", "_pb2_grpc")
            for stub in sorted(Path(scratch, VIRTUAL).glob(f"{source.stem}{suffix}.py*"))
            if suffix == "_pb2" or "\nservice " in source.read_text()
        ]


if __name__ == "__main__":
    for stub in generate(HERE):
        print(stub.name)
