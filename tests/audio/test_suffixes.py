"""Which files are taken for recordings and for mels: the same everywhere."""

import subprocess
import sys

import pytest
import soundfile
import torch

from waveflow.audio.mel_check import check_mel
from waveflow.audio.mel_config import MelConfig
from waveflow.audio.mel_files import read_mel, write_mel
from waveflow.audio.suffixes import AUDIO_SUFFIXES, MEL_SUFFIXES
from waveflow.cli.inputs import find_inputs
from waveflow.data.manifest import Entry, Manifest
from waveflow.data.recordings import Recordings
from waveflow.metrics.folder import find_recordings


def test_every_command_finds_the_recordings_of_a_folder(tmp_path):
    for suffix in AUDIO_SUFFIXES:
        (tmp_path / f"{suffix[1:]}{suffix}").touch()
    names = sorted(f"{suffix[1:]}{suffix}" for suffix in AUDIO_SUFFIXES)
    assert {".caf", ".w64"} < {*AUDIO_SUFFIXES}
    assert sorted(item.path.name for item in find_inputs([str(tmp_path)], AUDIO_SUFFIXES)) == names
    assert sorted(path.name for path in find_recordings(tmp_path).values()) == names


@pytest.mark.parametrize("suffix", MEL_SUFFIXES)
def test_mels_of_every_suffix_are_written_read_and_paired(tmp_path, suffix):
    mel = torch.randn(80, 5) - 5
    write_mel(tmp_path / f"a{suffix}", mel)
    assert torch.equal(read_mel(tmp_path / f"a{suffix}"), mel)
    soundfile.write(tmp_path / "a.wav", torch.zeros(1024).numpy(), 22050)
    manifest = Manifest(tmp_path, (Entry("a", "a.wav", "", "", 22050, 1024, 1024 / 22050, "", "train"),))
    assert torch.equal(Recordings(manifest, MelConfig(), tmp_path).paired_mel(0), mel)


def test_mels_of_another_suffix_are_neither_written_nor_read(tmp_path):
    for act in (lambda path: write_mel(path, torch.zeros(80, 5)), read_mel):
        with pytest.raises(ValueError, match=r"mel\.txt, expected one of|mel file, expected one of"):
            act(tmp_path / "mel.txt")


def test_integers_are_read_as_they_are_and_refused_as_a_mel(tmp_path):
    write_mel(tmp_path / "a.npy", torch.zeros(80, 5, dtype=torch.int16))
    with pytest.raises(ValueError, match=r"mel is torch\.int16, expected floating-point log-mel values"):
        check_mel(read_mel(tmp_path / "a.npy"), MelConfig())


def test_a_mel_file_with_more_than_tensors_is_refused_without_advice_to_execute_it(tmp_path):
    torch.save({"mel": torch.zeros(80, 5), "by": print}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="holds other objects than tensors, which are not unpickled") as refused:
        read_mel(tmp_path / "a.pt")
    assert "weights_only" not in str(refused.value)


def test_suffixes_are_known_without_pytorch():
    code = "import sys, waveflow.audio.suffixes; print('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
