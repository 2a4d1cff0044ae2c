import io as bytesio
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch
from conftest import DATA

from waveflow.audio import io

CLIP = DATA / "ljspeech/wavs/LJ001-0002.flac"
TONE = 0.5 * np.sin(2 * np.pi * 440 * np.arange(24000) / 24000)


@pytest.mark.parametrize(
    ("name", "subtype", "bound"),
    [
        ("a.wav", "PCM_U8", 1 / 128),
        ("a.wav", "PCM_16", 1 / 32768),
        ("a.wav", "PCM_24", 1e-6),
        ("a.wav", "PCM_32", 1e-6),
        ("a.wav", "FLOAT", 1e-6),
        ("a.wav", "DOUBLE", 1e-6),
        ("a.wav", "ULAW", 2e-2),
        ("a.flac", "PCM_S8", 1 / 128),
        ("a.flac", "PCM_24", 1e-6),
        ("a.ogg", "VORBIS", 2e-2),
        ("a.aiff", "PCM_16", 1 / 32768),
    ],
)
def test_every_sample_format_comes_back_as_float(tmp_path, name, subtype, bound):
    soundfile.write(tmp_path / name, TONE, 24000, subtype)
    audio, rate = io.read(tmp_path / name)
    assert (audio.dtype, rate, audio.shape) == (torch.float32, 24000, (24000,))
    assert (audio - torch.from_numpy(TONE)).abs().max() < bound


def test_mp3_is_read(tmp_path):
    soundfile.write(tmp_path / "a.mp3", TONE, 24000)
    audio, rate = io.read(tmp_path / "a.mp3")
    assert rate == 24000
    assert len(audio) == pytest.approx(24000, abs=3000)  # the encoder pads
    assert audio.abs().max() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("n_channels", [1, 2, 6, 8])
def test_channels_are_averaged_or_kept(tmp_path, n_channels):
    channels = torch.rand(n_channels, 5000) - 0.5
    soundfile.write(tmp_path / "a.wav", channels.T.numpy(), 48000, "FLOAT")
    assert io.info(tmp_path / "a.wav") == io.AudioInfo(48000, 5000, n_channels, "FLOAT")
    torch.testing.assert_close(io.read(tmp_path / "a.wav")[0], channels.mean(0))
    assert torch.equal(io.read(tmp_path / "a.wav", mono=False)[0], channels)


def tone(frequency, rate):
    return (0.5 * torch.sin(2 * torch.pi * frequency * torch.arange(rate).double() / rate)).float()


@pytest.mark.parametrize("source_rate", [8000, 11025, 16000, 44100, 48000])
def test_resampling_keeps_a_tone(tmp_path, source_rate):
    io.write(tmp_path / "a.wav", tone(440, source_rate), source_rate, "FLOAT")
    audio, rate = io.read(tmp_path / "a.wav", 22050)
    assert (len(audio), rate) == (22050, 22050)
    assert (audio - tone(440, 22050))[2000:-2000].abs().max() < 1 / 32768


def test_resampling_removes_what_would_alias():
    assert io.resample(tone(14000, 48000), 48000, 22050)[500:-500].abs().max() < 1e-5


def test_rate_that_shares_no_factor_is_resampled_to_the_right_length():
    assert io.resample(torch.rand(44101), 44101, 24000).shape == (24000,)


def test_rates_that_are_no_rates_are_refused():
    with pytest.raises(ValueError, match="must be positive"):
        io.resample(torch.rand(10), 0, 22050)


@pytest.mark.parametrize("block", [1, 999, 40000, 10**7])
@pytest.mark.parametrize("sample_rate", [None, 22050, 48000])
def test_blocks_join_to_the_whole(block, sample_rate):
    if block == 1 and sample_rate:
        block = 7
    whole = io.read(CLIP, sample_rate)[0]
    blocks = list(io.read_blocks(CLIP, block, sample_rate))
    assert all(b.shape == (block,) for b in blocks[:-1])
    assert 0 < len(blocks[-1]) <= block
    torch.testing.assert_close(torch.cat(blocks), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("rate", "target"), [(48000, 22050), (16000, 44100), (8000, 48000), (44101, 24000)])
@pytest.mark.parametrize("piece", [401, 30000])
def test_resampling_in_blocks_is_resampling_at_once(tmp_path, monkeypatch, rate, target, piece):
    monkeypatch.setattr("waveflow.audio.reading._PIECE", piece)
    audio = torch.rand(2, 70001) - 0.5
    io.write(tmp_path / "a.wav", audio, rate, "FLOAT")
    joined = torch.cat(list(io.read_blocks(tmp_path / "a.wav", 5000, target, mono=False)), dim=-1)
    torch.testing.assert_close(joined, io.resample(audio, rate, target), atol=1e-5, rtol=0)


def test_an_hour_is_read_in_bounded_memory(tmp_path):
    path = tmp_path / "hour.wav"
    with io.writer(path, 8000) as append:
        for _ in range(60):
            append(torch.full((60 * 8000,), 0.25))
    tracemalloc.start()
    total = sum(len(block) for block in io.read_blocks(path, 8000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 3600 * 8000
    assert peak < 20e6  # the file decodes to 115 MB


def test_file_objects_are_read_without_seeking():
    class Pipe(bytesio.RawIOBase):
        def __init__(self, data):
            self.data = bytesio.BytesIO(data)

        def read(self, size=-1):
            return self.data.read(size)

    assert torch.equal(io.read(Pipe(CLIP.read_bytes()))[0], io.read(CLIP)[0])


def test_wav_of_unknown_length_from_a_pipe_is_read(tmp_path):
    soundfile.write(tmp_path / "a.wav", TONE, 24000, "PCM_16")
    data = bytearray((tmp_path / "a.wav").read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    assert io.read(bytesio.BytesIO(bytes(data)))[0].shape == (24000,)


def make_bad(folder):
    (folder / "text.wav").write_text("This is not a sound.\n" * 30)
    (folder / "empty.wav").touch()
    soundfile.write(folder / "no_samples.wav", np.zeros(0), 22050)
    (folder / "cut.flac").write_bytes(CLIP.read_bytes()[:20000])
    (folder / "bytes.wav").write_bytes(bytes(range(256)) * 8)
    (folder / "bytes.raw").write_bytes(bytes(range(256)) * 8)
    soundfile.write(folder / "nan.wav", np.array([0.0, np.nan, np.inf]), 22050, "FLOAT")
    (folder / "folder.wav").mkdir()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("text.wav", "is no sound file: it holds text"),
        ("empty.wav", "is empty"),
        ("no_samples.wav", "has the header of a sound file but no samples"),
        ("cut.flac", "is damaged"),
        ("bytes.wav", "is no sound file: unknown format or damaged header"),
        ("bytes.raw", "is no sound file"),
        ("nan.wav", "has 2 NaN or infinite samples"),
        ("folder.wav", "cannot be opened: Is a directory"),
        ("missing.wav", "cannot be opened: No such file"),
    ],
)
def test_bad_file_is_named_with_the_reason(tmp_path, name, reason):
    make_bad(tmp_path)
    with pytest.raises(io.AudioError, match=reason) as error:
        io.read(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)
    assert isinstance(error.value, io.EmptyAudioError) == (name in ("empty.wav", "no_samples.wav"))
    with pytest.raises(io.AudioError, match=reason):
        list(io.read_blocks(tmp_path / name, 1000, 16000))


def test_empty_stream_is_refused():
    with pytest.raises(io.AudioError, match="is empty"):
        io.read(bytesio.BytesIO())


def test_a_block_of_no_samples_is_refused():
    with pytest.raises(ValueError, match="block is 0"):
        next(io.read_blocks(CLIP, 0))
