import io
import struct

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save

from waveflow.audio.mel import MelConfig, MelSpectrogram
from waveflow.audio.quantizing import pcm
from waveflow.audio.resampling import resample
from waveflow.inference.streaming.input import MelInput, wav_header

TRANSFORM = MelSpectrogram(MelConfig())


class Pipe(io.RawIOBase):
    """A pipe that hands over a few bytes at a time."""

    def __init__(self, data, step):
        self._data, self._step = io.BytesIO(data), step

    def read(self, n=-1):
        return self._data.read(min(self._step, n if n >= 0 else self._step))


def mel_in(data, step=977, transform=TRANSFORM):
    given = MelInput(Pipe(data, step), transform)
    return torch.cat(list(given), dim=1), given


def tone(n, rate=22050):
    t = np.arange(n) / rate
    return (0.3 * np.sin(2 * np.pi * 220 * t) * np.sin(np.pi * np.arange(n) / n)).astype(np.float32)


def wav(audio, rate, subtype):
    file = io.BytesIO()
    soundfile.write(file, audio, rate, subtype=subtype, format="WAV")
    return file.getvalue()


@pytest.mark.parametrize("step", [1, 320, 1000])
def test_raw_frames_come_out_as_they_went_in(step):
    mel = torch.randn(80, 7)
    found, given = mel_in(mel.T.contiguous().numpy().astype("<f4").tobytes(), step)
    assert torch.equal(found, mel)
    assert given.n_samples is None


@pytest.mark.parametrize("shape", [(80, 7), (7, 80), (1, 80, 7)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_numpy_files_are_read_in_either_layout(shape, order, dtype):
    mel = np.random.default_rng(0).standard_normal((80, 7)).astype(np.float32)
    array = np.asarray(mel if shape[-1] == 7 else mel.T, dtype).reshape(shape)
    file = io.BytesIO()
    np.save(file, np.asarray(array, order=order))
    found, _ = mel_in(file.getvalue())
    assert np.allclose(found.numpy(), mel)


def test_frames_of_an_array_in_their_own_order_come_before_it_is_complete():
    file = io.BytesIO()
    np.save(file, np.zeros((100, 80), np.float32))
    pieces = iter(MelInput(Pipe(file.getvalue()[:-320], 4000), TRANSFORM))
    assert next(pieces).shape[1] > 0


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("n", [9000, 9 * 256])
def test_a_recordings_mel_is_that_of_the_whole(subtype, n):
    data = wav(tone(n), 22050, subtype)
    expected = TRANSFORM(torch.from_numpy(soundfile.read(io.BytesIO(data), dtype="float32")[0]))
    found, given = mel_in(data, 1500)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert given.n_samples == n


@pytest.mark.parametrize("preset", ["hifigan", "vocos"])
def test_other_conventions_rates_and_channels_are_those_of_the_whole(preset):
    transform = MelSpectrogram(MelConfig.preset(preset))
    rate = transform.config.sample_rate
    stereo = np.stack([tone(12000, 16000), 0.5 * tone(12000, 16000)], axis=1)
    found, given = mel_in(wav(stereo, 16000, "FLOAT"), 2000, transform)
    audio = resample(torch.from_numpy(stereo.mean(1)), 16000, rate)
    torch.testing.assert_close(found, transform(audio), atol=1e-3, rtol=1e-3)
    assert given.n_samples == len(audio)


def test_a_recording_of_unknown_length_is_read_to_its_end():
    samples = tone(5000)
    found, given = mel_in(wav_header(22050) + pcm(torch.from_numpy(samples)))
    assert given.n_samples == 5000
    assert found.shape[1] == 20


def test_written_samples_are_those_of_a_written_file():
    audio = torch.tensor([0.0, 1.0, -1.0, 0.5, 2.0, -3.0, 1e-5])
    file = io.BytesIO(wav_header(22050) + pcm(audio))
    assert struct.unpack("<7h", pcm(audio)) == (0, 32767, -32768, 16384, 32767, -32768, 0)
    assert file.getvalue()[:4] == b"RIFF"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (bytes(325), "ends in the middle of a frame, 5 of 320 bytes"),
        (b"fLaC" + bytes(100), "compressed audio was given"),
        (b"RIFF" + bytes(100), "RIFF stream that is no WAVE"),
        (b"RIFF\0\0\0\0WAVEfmt ", "the WAV ends in its header"),
        (wav_header(22050)[:20] + b"\x02\0" + wav_header(22050)[22:], "a WAV of format 2 with 16 bits"),
        (b"\x93NUMPY\x09\0", "unknown version"),
    ],
)
def test_what_cannot_be_read_is_named(data, message):
    with pytest.raises(ValueError, match=message):
        mel_in(data)


@pytest.mark.parametrize(
    "write",
    [
        lambda file, mel: np.savez(file, mel=mel.numpy()),
        lambda file, mel: torch.save(mel, file),
        lambda file, mel: torch.save(mel, file, _use_new_zipfile_serialization=False),
        lambda file, mel: file.write(save({"mel": mel})),
    ],
    ids=["npz", "pt", "old pt", "safetensors"],
)
def test_files_that_cannot_be_streamed_are_refused_and_not_taken_for_frames(write):
    file = io.BytesIO()
    write(file, torch.randn(80, 20))
    with pytest.raises(ValueError, match=r"vocode it without --stream, or write the mel with numpy\.save"):
        mel_in(file.getvalue())


@pytest.mark.parametrize("container", ["RF64", "W64", "AIFF", "CAF", "OGG"])
def test_recordings_that_are_no_wav_are_refused(container):
    file = io.BytesIO()
    soundfile.write(file, tone(2000), 22050, format=container)
    with pytest.raises(ValueError, match="expected WAV or mel frames; decode it first"):
        mel_in(file.getvalue())


def test_frames_that_begin_with_small_numbers_and_zeros_are_frames():
    mel = torch.zeros(80, 3)
    mel[0] = 1e-42
    assert torch.equal(mel_in(mel.T.contiguous().numpy().tobytes())[0], mel)


def test_arrays_of_other_shapes_and_types_are_refused():
    for array in (np.zeros((79, 5), np.float32), np.zeros((80, 5), np.int32)):
        file = io.BytesIO()
        np.save(file, array)
        with pytest.raises(ValueError, match="expected little-endian floats"):
            mel_in(file.getvalue())
