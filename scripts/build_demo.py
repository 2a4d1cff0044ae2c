"""Build what the static page of docs/demo needs: the model as ONNX, and ONNX Runtime Web from the npm registry.

    python scripts/build_demo.py
    python -m http.server --directory docs/demo

Both go to docs/demo/dist, which is not committed; the site of the documentation has the page once they are there.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from waveflow.checkpoints import native
from waveflow.inference.export import FACTS, FORMATS, export
from waveflow.inference.loading import find_checkpoint

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
FILES = ("dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm")
PAGE = Path(__file__).resolve().parents[1] / "docs" / "demo"


def build(model: str, output: Path, package: Path | None = None) -> None:
    """Write the model, its facts and the runtime.

    Args:
        model: Bundled model or checkpoint directory.
        output: The folder; created, its files replaced.
        package: The npm package as a .tgz; downloaded unless given.

    Raises:
        RuntimeError: npm failed, or the package is not the one that was looked at.
    """
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        path = find_checkpoint(model)
        export(native.load(path), Path(folder) / "exported", from_audio=True, draw_noise=True)
        written = Path(folder) / "exported" / FORMATS["onnx"]
        facts = json.loads((Path(folder) / "exported" / FACTS).read_text(encoding="utf-8"))
        shutil.copyfile(written, output / "model.onnx")
        told = {
            "name": path.name,
            "megabytes": round(written.stat().st_size / 1e6, 1),
            "sample_rate": facts["config"]["mel"]["sample_rate"],
            "sigma": facts["config"]["sigma"],
            "samples_per_frame": facts["samples_per_frame"],
            "min_frames": facts["min_frames"],
        }
        (output / "facts.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        unpack(package or download(Path(folder)), output)


def download(folder: Path) -> Path:
    """The npm package, as a file in a folder."""
    command = ["npm", "pack", "--silent", f"{PACKAGE}@{VERSION}"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        raise RuntimeError(f"{' '.join(command)} failed: {getattr(error, 'stderr', None) or error}") from error
    return folder / f"{PACKAGE}-{VERSION}.tgz"


def unpack(package: Path, output: Path) -> None:
    """Copy the runtime's files out of the package."""
    # As npm writes it.
    found = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
    if found != SHA512:
        raise RuntimeError(f"{package.name} has the SHA-512 {found[:16]}..., expected {SHA512[:16]}...")
    with tarfile.open(package) as archive:
        for name in FILES:
            with archive.extractfile(f"package/{name}") as source:
                (output / Path(name).name).write_bytes(source.read())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", "-m", default="lapglow-tiny", help="bundled model or checkpoint directory")
    parser.add_argument("--output", "-o", type=Path, default=PAGE / "dist", help="folder to write")
    parser.add_argument("--package", type=Path, help="the npm package as a .tgz, instead of downloading it")
    options = parser.parse_args()
    try:
        build(options.model, options.output, options.package)
    except (RuntimeError, ValueError) as error:
        sys.exit(f"build_demo: {error}")
    size = sum(file.stat().st_size for file in options.output.iterdir()) / 1e6
    print(f"{options.output}: {size:.1f} MB; open it with python -m http.server --directory {PAGE}")


if __name__ == "__main__":
    main()
