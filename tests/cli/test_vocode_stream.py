import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from waveflow.inference import load


@pytest.fixture
def mel():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(80, 40, generator=generator) - 5


@pytest.fixture
def vocode(checkpoint):
    def call(*arguments, given):
        command = [sys.executable, "-m", "waveflow.cli.main", "vocode", "--stream", "-m", checkpoint, *arguments]
        return subprocess.run(command, input=given, capture_output=True)

    return call


def test_frames_on_stdin_become_the_offline_audio_on_stdout(vocode, checkpoint, mel):
    done = vocode("--seed", "3", "--json", given=mel.T.contiguous().numpy().tobytes())
    assert done.returncode == 0
    samples = np.frombuffer(done.stdout, "<i2")
    expected = load(checkpoint, device="cpu")(mel, seed=3).double()
    expected = (32768 * expected).round().clamp(-32768, 32767)
    assert np.abs(samples - expected.numpy()).max() <= 1
    facts = json.loads(done.stderr)
    assert facts["seconds"] == pytest.approx(40 * 256 / 22050)
    assert facts["first_audio_ms"] > 0
    assert "snr_db" not in facts


def test_a_recording_becomes_a_wav_of_its_own_length_and_a_short_look_ahead_tells_its_error(run, checkpoint, tmp_path):
    soundfile.write(tmp_path / "in.wav", 0.1 * np.sin(np.arange(9000) / 20), 22050)
    arguments = ["--look-ahead", 2, "-m", checkpoint, "-o", tmp_path / "out.wav"]
    code, _, err = run("vocode", "--stream", tmp_path / "in.wav", *arguments)
    assert code == 0
    assert "look-ahead 2 frames (23 ms)" in err
    assert "dB like the audio with the whole look-ahead" in err
    assert soundfile.info(tmp_path / "out.wav").frames == 9000


def test_a_file_that_exists_is_kept_unless_it_may_be_replaced(run, checkpoint, tmp_path, mel):
    np.save(tmp_path / "mel.npy", mel.numpy())
    (tmp_path / "out.wav").write_bytes(b"dear")
    arguments = ["vocode", "--stream", tmp_path / "mel.npy", "-m", checkpoint, "-o", tmp_path / "out.wav"]
    code, _, err = run(*arguments)
    assert (code, (tmp_path / "out.wav").read_bytes()) == (2, b"dear")
    assert "exists and is kept; --overwrite replaces it" in err
    assert run(*arguments, "--overwrite")[0] == 0
    assert soundfile.info(tmp_path / "out.wav").frames == 40 * 256


def test_an_input_that_is_refused_leaves_no_file_and_replaces_none(run, checkpoint, tmp_path):
    (tmp_path / "in.flac").write_bytes(b"fLaC" + bytes(40))
    (tmp_path / "old.wav").write_bytes(b"dear")
    for name in ("new.wav", "old.wav"):
        arguments = ["--overwrite", "-m", checkpoint, "-o", tmp_path / name]
        code, _, err = run("vocode", "--stream", tmp_path / "in.flac", *arguments)
        assert code == 2
        assert "decode it first" in err
    assert not (tmp_path / "new.wav").exists()
    assert (tmp_path / "old.wav").read_bytes() == b"dear"


def test_what_was_written_before_an_error_is_a_whole_recording(run, checkpoint, tmp_path, mel):
    (tmp_path / "mel.raw").write_bytes(mel.T.contiguous().numpy().tobytes() + b"odd")
    code, _, err = run("vocode", "--stream", tmp_path / "mel.raw", "-m", checkpoint, "-o", tmp_path / "out.wav")
    assert code == 2
    assert "ends in the middle of a frame" in err
    info = soundfile.info(tmp_path / "out.wav")
    assert 0 < info.frames == (os.path.getsize(tmp_path / "out.wav") - 44) / 2


def test_audio_is_flushed_while_the_input_still_comes(checkpoint, mel):
    command = [sys.executable, "-m", "waveflow.cli.main", "vocode", "--stream", "--wav", "-m", checkpoint]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(mel.T.contiguous().numpy().tobytes())
        process.stdin.flush()
        early = process.stdout.read(44 + 2 * 256 * 16)
        process.stdin.close()
        late = process.stdout.read()
    assert process.returncode == 0
    assert len(early + late) == 44 + 2 * 256 * 40
    assert soundfile.read(io.BytesIO(early + late))[1] == 22050


def test_a_listener_who_hangs_up_ends_it_quietly(checkpoint, mel):
    read, write = os.pipe()
    command = [sys.executable, "-m", "waveflow.cli.main", "vocode", "--stream", "-m", checkpoint]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    os.close(read)
    _, err = process.communicate(mel.T.contiguous().numpy().tobytes())
    assert process.returncode == 1
    assert err == b""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.npy", "b.npy"], "--stream takes one input"),
        (["--denoise", "0.1"], "neither --denoise nor --project"),
        (["nowhere.npy"], "nothing to read at nowhere.npy"),
        (["--look-ahead", "-1"], "look_ahead=-1"),
        (["--subtype", "FLOAT"], "--subtype is FLOAT, but a stream is 16-bit PCM"),
        ([__file__, "-o", "speech.flac"], "is FLAC, but a stream is WAV or raw PCM"),
        ([__file__, "-o", "."], "is a folder, but a stream is one file"),
        ([__file__, "-o", "nowhere/x.wav"], "is in a folder that does not exist"),
    ],
)
def test_wrong_usage_is_refused(run, checkpoint, arguments, message):
    code, _, err = run("vocode", "--stream", *arguments, "-m", checkpoint)
    assert code == 2
    assert message in err


def test_options_of_streams_and_missing_inputs_are_refused_without_one(run, checkpoint):
    assert "belong to --stream" in run("vocode", "x.wav", "--wav", "-m", checkpoint)[2]
    assert "no input was given" in run("vocode", "-m", checkpoint)[2]
