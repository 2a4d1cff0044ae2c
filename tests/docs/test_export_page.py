"""The C++ of the page on export: compiled by the page's own command, it makes the vocoder's audio."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import moved

from waveflow.decibels import signal_to_error
from waveflow.inference import Vocoder
from waveflow.inference.export import export
from waveflow.models import build

PAGE = Path(__file__).resolve().parents[2] / "docs" / "export.md"


@pytest.mark.slow
def test_the_program_in_cpp_makes_the_vocoders_audio_from_a_mel_and_a_seed(tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    program, command = re.search(
        r"^```cpp\n(.*?)^```$.*?^```bash\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S
    ).groups()
    (tmp_path / "vocode.cpp").write_text(program)
    model = moved(build("lapglow", n_flows=1, n_channels=8, dilations=[1], n_encoded=0))
    export(model, tmp_path / "exported", formats=["aoti"])
    mel = torch.randn(80, 31) - 5
    mel.T.contiguous().numpy().tofile(tmp_path / "mel.f32")
    done = subprocess.run(["bash", "-ec", command], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert '"min_frames": 3' in done.stdout
    found = torch.from_numpy(np.fromfile(tmp_path / "audio.f32", np.float32))
    assert signal_to_error(found[None], Vocoder(model)(mel, sigma=0.8, seed=7)[None]).item() > 90
