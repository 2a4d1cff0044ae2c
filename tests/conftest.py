import os
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers, and what they start, share the cores by the process and not by the thread.
    os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch

if not torch.cuda.is_available():
    # Triton decides at its first import, whoever imports it, whether kernels are interpreted on the CPU.
    os.environ["TRITON_INTERPRET"] = "1"

SHARED = Path(__file__).resolve().parents[2] / "shared"
DATA = Path(__file__).resolve().parent / "data"


def shared(path: str) -> Path:
    """`../shared/<path>`, reference vectors and recordings beside the checkout; skips where they are absent."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"needs ../shared/{path}, which is not beside this checkout")
    return found


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)
