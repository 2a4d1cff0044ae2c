import hashlib

import pytest
import torch
import torchaudio
from conftest import DATA

from waveflow.audio import io
from waveflow.data.cleaning import CleaningConfig, SetAside, clean_file, level, trim

CLIP = DATA / "ljspeech/wavs/LJ001-0002.flac"
RATE = 22050


@pytest.fixture(scope="module")
def speech():
    return io.read(CLIP)[0]


def test_recording_that_needs_nothing_stays_as_it_is(tmp_path, speech):
    made = clean_file(CLIP, tmp_path / "a/b.flac", CleaningConfig())
    assert torch.equal(io.read(tmp_path / "a/b.flac")[0], speech)
    assert made.n_samples == len(speech)
    assert made.notes == ()
    assert made.sha256 == hashlib.sha256((tmp_path / "a/b.flac").read_bytes()).hexdigest()
    assert io.info(tmp_path / "a/b.flac").subtype == "PCM_16"


def test_rate_and_channels_are_brought_together(tmp_path, speech):
    stereo = torch.stack([speech, torch.zeros_like(speech)])
    io.write(tmp_path / "a.wav", io.resample(stereo, RATE, 44100), 44100, "FLOAT")
    made = clean_file(tmp_path / "a.wav", tmp_path / "a.flac", CleaningConfig())
    assert abs(made.n_samples - len(speech)) <= 1
    back = io.read(tmp_path / "a.flac")[0]
    # The resampler's own band ends at 0.9 of the Nyquist frequency.
    assert (back[: len(speech)] - speech[: len(back)] / 2).square().mean() < 1e-3 * speech.square().mean()


def test_upsampling_is_noted(tmp_path, speech):
    io.write(tmp_path / "a.wav", speech, 16000)
    assert clean_file(tmp_path / "a.wav", tmp_path / "a.flac", CleaningConfig()).notes == ("upsampled",)


def test_trim_cuts_silence_and_keeps_a_margin():
    tone = 0.3 * torch.sin(torch.arange(RATE) / 10)
    hiss = 1e-4 * torch.randn(3 * RATE)
    audio = hiss.clone()
    audio[RATE : 2 * RATE] += tone
    cut = trim(audio, RATE, 40)
    assert len(cut) == pytest.approx(1.2 * RATE, abs=0.12 * RATE)
    assert float(cut.square().sum() / audio.square().sum()) == pytest.approx(1, abs=1e-4)
    assert len(trim(audio, RATE, 90)) == len(audio)


@pytest.mark.parametrize("lufs", [-30.0, -23.0])
def test_loudness_is_reached(speech, lufs):
    levelled, limited = level(speech, RATE, lufs)
    assert not limited
    assert float(torchaudio.functional.loudness(levelled[None], RATE)) == pytest.approx(lufs, abs=0.05)


def test_loudness_stops_short_of_clipping(tmp_path, speech):
    levelled, limited = level(speech, RATE, -5.0)
    assert limited
    assert levelled.abs().max() == pytest.approx(0.99)
    assert clean_file(CLIP, tmp_path / "a.flac", CleaningConfig(loudness=-5)).notes == ("loudness limited by peak",)


def test_loudness_of_a_blink_is_defined():
    levelled, _ = level(0.1 * torch.sin(torch.arange(2000) / 5.0), RATE, -23)
    assert levelled.isfinite().all()


@pytest.mark.parametrize(("gain", "clipped"), [(0.5, False), (1.0, False), (2.0, True), (8.0, True)])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_clipping_is_recognised_and_a_full_peak_is_not(tmp_path, speech, gain, clipped, subtype):
    io.write(tmp_path / "a.wav", gain * speech / speech.abs().max(), RATE, subtype)
    if clipped:
        with pytest.raises(SetAside, match=r"clipped: .* of the samples stand at full scale"):
            clean_file(tmp_path / "a.wav", tmp_path / "a.flac", CleaningConfig())
        assert not (tmp_path / "a.flac").exists()
    else:
        clean_file(tmp_path / "a.wav", tmp_path / "a.flac", CleaningConfig())


def test_clipping_is_seen_in_one_channel_and_before_resampling(tmp_path, speech):
    loud = (6 * speech / speech.abs().max()).clamp(-1, 1)
    io.write(tmp_path / "a.wav", torch.stack([speech, loud]), 44100)
    with pytest.raises(SetAside, match="clipped"):
        clean_file(tmp_path / "a.wav", tmp_path / "a.flac", CleaningConfig())


def test_a_float_file_beyond_full_scale_is_set_aside_unless_its_level_is_brought_down(tmp_path, speech):
    io.write(tmp_path / "a.wav", 20 * speech, RATE, "FLOAT")
    with pytest.raises(SetAside, match=r"clipped: .* of the samples are beyond full scale; a loudness brings"):
        clean_file(tmp_path / "a.wav", tmp_path / "a.flac", CleaningConfig())
    for changes, notes in (({"loudness": -40}, ()), ({"max_clipped": 1}, ("peaks clipped",))):
        assert clean_file(tmp_path / "a.wav", tmp_path / "a.flac", CleaningConfig(**changes)).notes == notes


def test_clipping_can_be_allowed(tmp_path, speech):
    io.write(tmp_path / "a.wav", 8 * speech, RATE)
    clean_file(tmp_path / "a.wav", tmp_path / "a.flac", CleaningConfig(max_clipped=1))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"min_seconds": 3}, "too short: 1.90 s, at least 3 s"), ({"max_seconds": 1}, "too long: 1.90 s, at most 1 s")],
)
def test_lengths_have_limits(tmp_path, changes, reason):
    with pytest.raises(SetAside, match=reason):
        clean_file(CLIP, tmp_path / "a.flac", CleaningConfig(**changes))


@pytest.mark.parametrize(("content", "reason"), [(b"", "empty"), (b"text", "unreadable")])
@pytest.mark.parametrize("name", ["a.wav", "no samples.wav"])
def test_a_file_is_empty_or_unreadable_whatever_its_name_says(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SetAside) as error:
        clean_file(tmp_path / name, tmp_path / "a.flac", CleaningConfig())
    assert error.value.reason == reason


def test_length_counts_after_trimming(tmp_path):
    audio = torch.zeros(3 * RATE)
    audio[RATE : RATE + 2000] = 0.5 * torch.randn(2000).clamp(-1, 1)
    io.write(tmp_path / "a.wav", audio, RATE)
    clean_file(tmp_path / "a.wav", tmp_path / "a.flac", CleaningConfig())
    with pytest.raises(SetAside, match="too short"):
        clean_file(tmp_path / "a.wav", tmp_path / "a.flac", CleaningConfig(trim_db=40))


@pytest.mark.parametrize(
    "changes",
    [
        {"sample_rate": 0},
        {"min_seconds": -1},
        {"max_seconds": 0.1},
        {"trim_db": -40},
        {"loudness": 23},
        {"max_clipped": 2},
    ],
)
def test_impossible_settings_are_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        CleaningConfig(**changes)
