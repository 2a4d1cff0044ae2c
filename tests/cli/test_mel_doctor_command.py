import json

import numpy as np
import pytest

from waveflow.audio import io
from waveflow.audio.mel import MelConfig, MelSpectrogram


@pytest.fixture
def log10(clips, tmp_path):
    """A clip, and the file of its mel by ParallelWaveGAN's convention, frames first."""
    clip = sorted(clips.glob("*.flac"))[0]
    mel = MelSpectrogram(MelConfig.preset("parallelwavegan"))(io.read(clip)[0])
    np.save(tmp_path / "strange.npy", mel.T.numpy())
    return clip, tmp_path / "strange.npy"


def test_the_doctor_names_the_convention_and_the_remedy(run, checkpoint, log10):
    clip, path = log10
    code, out, _ = run("mel", "--doctor", path, "-m", checkpoint, "--audio", clip)
    assert code == 0
    for fact in ("log10, as parallelwavegan", "% sure", "transposed", "centred on hops", "another filterbank"):
        assert fact in out
    found = json.loads(run("mel", "--doctor", path, "--preset", "espnet", "--json")[1])[0]
    assert found["remedy"] == "transpose it; then its values are what the vocoder expects"
    assert found["transposed"]


def test_the_doctor_goes_on_after_a_file_it_cannot_read(run, checkpoint, log10, tmp_path):
    (tmp_path / "broken.npy").write_text("text")
    code, out, err = run("mel", "--doctor", tmp_path / "broken.npy", log10[1], "-m", checkpoint)
    assert code == 1
    assert "broken.npy" in err
    assert "strange.npy: log10" in out


def test_audio_without_the_doctor_is_refused(run, clips):
    code, _, err = run("mel", clips, "--audio", "x.wav")
    assert code == 2
    assert "belong to --doctor" in err


def test_vocode_makes_no_guess_of_too_few_frames(run, checkpoint, tmp_path):
    np.save(tmp_path / "short.npy", np.full((80, 10), 50.0, "f4"))
    code, _, err = run("vocode", tmp_path / "short.npy", "-o", tmp_path / "out.wav", "-m", checkpoint)
    assert code == 1
    assert "It looks like" not in err


def test_vocode_says_what_a_refused_mel_looks_like(run, checkpoint, log10, tmp_path):
    code, _, err = run("vocode", log10[1], "-o", tmp_path / "out.wav", "-m", checkpoint)
    assert code == 1
    assert "which is transposed" in err
    assert "It looks like: log10, as parallelwavegan" in err
    assert not (tmp_path / "out.wav").exists()
