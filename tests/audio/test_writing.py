import io as bytesio
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import soundfile
import torch
from conftest import DATA

from waveflow.audio import io

CLIP = DATA / "ljspeech/wavs/LJ001-0002.flac"
FORMATS = [
    ("a.wav", "PCM_16"),
    ("a.wav", "PCM_24"),
    ("a.wav", "FLOAT"),
    ("a.flac", "PCM_16"),
    ("a.flac", "PCM_24"),
]
STEP = {"PCM_16": 2.0**-15, "PCM_24": 2.0**-23, "FLOAT": 1e-12}


@pytest.mark.parametrize(("name", "subtype"), FORMATS)
def test_audio_comes_back_to_half_a_step(tmp_path, name, subtype):
    audio = torch.rand(3, 10001) * 1.9 - 0.95
    assert io.write(tmp_path / name, audio, 24000, subtype) == 0
    assert soundfile.info(tmp_path / name).subtype == subtype
    back, rate = io.read(tmp_path / name, mono=False)
    assert rate == 24000
    assert (back - audio).abs().max() <= STEP[subtype] / 2 + 1e-9


@pytest.mark.parametrize(("name", "subtype"), FORMATS)
def test_beyond_full_scale_clips_and_never_wraps(tmp_path, name, subtype):
    audio = torch.tensor([1.0, -1.0, 1.5, -1.5, 1e9, -1e9])
    assert io.write(tmp_path / name, audio, 22050, subtype) == 4
    back = io.read(tmp_path / name)[0]
    if subtype == "FLOAT":
        assert torch.equal(back, audio)
    else:
        top = 1 - STEP[subtype]
        torch.testing.assert_close(back, torch.tensor([top, -1, top, -1, top, -1]), atol=1e-8, rtol=0)


def test_sixteen_bit_file_comes_back_bit_for_bit(tmp_path):
    before, rate = soundfile.read(CLIP, dtype="int16")
    io.write(tmp_path / "a.flac", io.read(CLIP)[0], rate)
    assert np.array_equal(soundfile.read(tmp_path / "a.flac", dtype="int16")[0], before)


def test_blocks_make_the_file_that_the_whole_makes(tmp_path):
    audio = io.read(CLIP)[0]
    io.write(tmp_path / "whole.wav", audio, 22050)
    with io.writer(tmp_path / "blocks.wav", 22050) as append:
        clipped = [append(block) for block in audio.split(1000)]
    assert sum(clipped) == 0
    assert (tmp_path / "blocks.wav").read_bytes() == (tmp_path / "whole.wav").read_bytes()


def test_file_object_receives_a_whole_file():
    stream = bytesio.BytesIO()
    io.write(stream, torch.rand(100), 16000, file_format="FLAC")
    stream.seek(0)
    assert io.info(stream) == io.AudioInfo(16000, 100, 1, "PCM_16")


@pytest.mark.parametrize(
    ("audio", "reason"),
    [
        (torch.tensor([0.0, float("nan"), float("inf")]), "2 of 3 samples are NaN or infinite"),
        (torch.zeros(0), "there are no samples"),
        (torch.zeros(2, 2, 2), r"shape \(2, 2, 2\)"),
        (torch.zeros(10, dtype=torch.int16), "torch.int16, expected floating point"),
    ],
)
def test_refused_audio_leaves_nothing_behind(tmp_path, audio, reason):
    with pytest.raises(io.AudioError, match=reason) as error:
        io.write(tmp_path / "a.wav", audio, 22050)
    assert str(tmp_path / "a.wav") in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "subtype"), [("a.mp3", "PCM_16"), ("a.flac", "FLOAT"), ("a", "PCM_16")])
def test_format_that_is_not_written_is_refused(tmp_path, name, subtype):
    with pytest.raises(io.AudioError, match="expected one of"):
        io.write(tmp_path / name, torch.zeros(10), 22050, subtype)


def test_error_in_the_middle_keeps_the_file_that_was_there(tmp_path):
    io.write(tmp_path / "a.wav", torch.zeros(10), 22050)
    before = (tmp_path / "a.wav").read_bytes()

    def write_blocks():
        with io.writer(tmp_path / "a.wav", 22050) as append:
            append(torch.full((1000,), 0.5))
            append(torch.full((1000,), float("nan")))

    with pytest.raises(io.AudioError, match="NaN"):
        write_blocks()
    assert (tmp_path / "a.wav").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("place", "reason"),
    [("missing/a.wav", "the folder does not exist"), ("file/a.wav", "its folder is a file")],
)
def test_impossible_folder_is_named(tmp_path, place, reason):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=reason) as error:
        io.write(tmp_path / place, torch.zeros(10), 22050)
    assert str(tmp_path / place) in str(error.value)


def test_read_only_folder_is_named(tmp_path, monkeypatch):
    tmp_path.chmod(0o555)
    if os.access(tmp_path, os.W_OK):  # the superuser writes everywhere, so the refusal is played

        def refuse(path, *_):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(PermissionError, match=f"cannot write {tmp_path}/a.wav: no permission to write there"):
        io.write(tmp_path / "a.wav", torch.zeros(10), 22050)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, name):
    io.write(tmp_path / name, torch.zeros(10), 22050)
    before = (tmp_path / name).read_bytes()
    program = textwrap.dedent(f"""
        import resource, signal, torch
        from waveflow.audio import io
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000))
        io.write({str(tmp_path / name)!r}, torch.rand(100000), 22050)
    """)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert f"cannot write {tmp_path / name}: File too large" in result.stderr
    assert (tmp_path / name).read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
