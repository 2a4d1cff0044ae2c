import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from waveflow.inference import load


@pytest.fixture
def clip(clips):
    return sorted(clips.glob("*.flac"))[0]


@pytest.fixture
def mel(checkpoint, clip):
    audio, _ = soundfile.read(clip, dtype="float32")
    return load(checkpoint, device="cpu").mel(torch.from_numpy(audio))


def test_a_recording_comes_back_at_its_own_length(run, checkpoint, clip, tmp_path):
    code, _, err = run("vocode", clip, "-o", tmp_path / "out.wav", "-m", checkpoint)
    assert code == 0
    assert "x real time" in err
    audio, rate = soundfile.read(tmp_path / "out.wav")
    original, _ = soundfile.read(clip)
    assert rate == 22050
    assert audio.shape == original.shape
    assert soundfile.info(tmp_path / "out.wav").subtype == "PCM_16"


def test_every_mel_format_gives_the_same_audio(run, checkpoint, mel, tmp_path):
    folder = tmp_path / "mels"
    folder.mkdir()
    np.save(folder / "a.npy", mel.numpy())
    np.savez(folder / "b.npz", mel=mel.numpy(), text="hello")
    torch.save(mel[None], folder / "c.pt")
    save_file({"mel": mel}, folder / "d.safetensors")
    code, out, _ = run("vocode", folder, "-o", tmp_path / "out", "-m", checkpoint, "--seed", 3, "--json")
    assert code == 0
    assert len(json.loads(out)) == 4
    heard = [soundfile.read(path)[0] for path in sorted((tmp_path / "out").glob("*.wav"))]
    assert len(heard) == 4
    assert all(np.array_equal(heard[0], other) for other in heard[1:])


def test_folders_keep_their_structure_and_globs_expand(run, checkpoint, clips, tmp_path):
    (clips / "inner").mkdir()
    first, second = sorted(clips.glob("*.flac"))[:2]
    second.rename(clips / "inner" / second.name)
    assert run("vocode", clips, "-o", tmp_path / "tree", "-m", checkpoint)[0] == 0
    assert (tmp_path / "tree" / "inner" / f"{second.stem}_waveflow.wav").exists()
    assert run("vocode", clips / "*.flac", "-o", tmp_path / "flat", "-m", checkpoint)[0] == 0
    assert (tmp_path / "flat" / f"{first.stem}_waveflow.wav").exists()


def test_a_vocoded_folder_is_evaluated_as_it_is(run, checkpoint, clips, tmp_path):
    assert run("vocode", clips, "-o", tmp_path / "vocoded", "-m", checkpoint)[0] == 0
    code, out, _ = run("evaluate", clips, tmp_path / "vocoded", "--json")
    assert code == 0
    assert set(json.loads(out)["synthesis"]["clips"]) == {clip.stem for clip in clips.glob("*.flac")}


def test_existing_files_are_kept_unless_told_otherwise(run, checkpoint, clip, tmp_path):
    target = tmp_path / "out.wav"
    target.write_bytes(b"precious")
    code, _, err = run("vocode", clip, "-o", target, "-m", checkpoint)
    assert code == 0
    assert "exists and is kept" in err
    assert target.read_bytes() == b"precious"
    assert run("vocode", clip, "-o", target, "-m", checkpoint, "--overwrite")[0] == 0
    assert soundfile.info(target).samplerate == 22050


def test_bad_inputs_are_named_and_the_good_ones_done(run, checkpoint, clips, tmp_path):
    (clips / "text.wav").write_text("this is no recording")
    (clips / "empty.wav").touch()
    np.save(clips / "wrong_bands.npy", np.zeros((79, 10), np.float32))
    np.save(clips / "transposed.npy", np.zeros((10, 80), np.float32))
    np.save(clips / "nan.npy", np.full((80, 10), np.nan, np.float32))
    np.save(clips / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    (clips / "damaged.safetensors").write_bytes(b"\x00" * 40)
    good = len(list(clips.glob("*.flac")))
    code, out, err = run("vocode", clips, "-o", tmp_path / "out", "-m", checkpoint, "--json")
    assert code == 1
    assert len(list((tmp_path / "out").glob("*.wav"))) == good
    errors = {os.path.basename(row["input"]): row["error"] for row in json.loads(out) if "error" in row}
    assert set(errors) == {
        "text.wav", "empty.wav", "wrong_bands.npy", "transposed.npy", "nan.npy", "object.npy", "damaged.safetensors",
    }  # fmt: skip
    assert "79 bands" in errors["wrong_bands.npy"]
    assert "transposed" in errors["transposed.npy"]
    told = [line for line in err.splitlines() if line.startswith("waveflow: ")]
    assert sorted(name for line in told for name in errors if line.count(name) == 1) == sorted(errors)
    assert not list((tmp_path / "out").glob("*.tmp*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.wav"], "nothing to read at nowhere.wav"),
        (["{clips}", "-o", "one.wav"], "is one file, but there are 3 inputs"),
        (["{clip}", "--dtype", "int3"], "dtype is 'int3'"),
        (["{clip}", "--backend", "abacus"], "backend is 'abacus'"),
        (["{clip}", "--device", "cuda:77"], "device 'cuda:77' and backend 'auto' cannot be used"),
        (["{clip}", "-m", "nonesuch"], "no model 'nonesuch'"),
        (["-", "{clip}"], "give it alone"),
        (["{clip}", "-o", "x.mp3"], "--output is x.mp3, expected a .wav or .flac file, a folder"),
        (["-", "-o", "x.raw"], "--output is x.raw, expected a .wav or .flac file, or - for stdout"),
        (["{clip}", "-o", "{script}"], "is a file, expected a .wav or .flac file, a folder"),
        (["{clips}", "--subtype", "PCM_8"], "'WAV' as 'PCM_8', expected one of"),
        (["{clip}", "-o", "x.flac", "--subtype", "FLOAT"], "'FLAC' as 'FLOAT', expected one of"),
        (["{clips}", "--seed", "-1"], "--seed"),
        (["{clips}", "--sigma", "-1"], "--sigma"),
        (["{clips}", "--denoise", "-1"], "--denoise"),
        (["{clips}", "--project", "-1"], "--project"),
    ],
)
def test_wrong_usage_is_one_clear_line_and_exit_code_two(run, checkpoint, clips, clip, arguments, message, tmp_path):
    arguments = [a.format(clips=clips, clip=clip, script=__file__) for a in arguments]
    if "-m" not in arguments:
        arguments += ["-m", checkpoint]
    code, _, err = run("vocode", *arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not list(tmp_path.rglob("*.wav"))


def test_a_folder_that_cannot_be_written_is_an_error_that_says_so(run, checkpoint, clip, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = run("vocode", clip, "-o", tmp_path / "file" / "out.wav", "-m", checkpoint)
    assert code == 1
    assert f"{clip}: {tmp_path / 'file'}: " in err
    assert "Errno" not in err


def test_stdin_goes_to_stdout(checkpoint, clip):
    command = [sys.executable, "-m", "waveflow.cli.main", "vocode", "-", "-m", checkpoint]
    done = subprocess.run(command, input=clip.read_bytes(), capture_output=True, check=True)
    audio, rate = soundfile.read(io.BytesIO(done.stdout))
    assert rate == 22050
    assert len(audio) == soundfile.info(clip).frames


def test_any_rate_and_channel_count_is_brought_to_the_models(run, checkpoint, tmp_path):
    t = np.arange(8000) / 8000
    tone = 0.2 * np.sin(2 * np.pi * 300 * t)
    soundfile.write(tmp_path / "surround.wav", np.stack([tone] * 8, axis=1), 8000, subtype="PCM_U8")
    assert run("vocode", tmp_path / "surround.wav", "-o", tmp_path / "out.flac", "-m", checkpoint)[0] == 0
    found = soundfile.info(tmp_path / "out.flac")
    assert (found.samplerate, found.channels, found.frames) == (22050, 1, 22050)
