import pytest
import torch

from waveflow.audio import io
from waveflow.audio.mel import MelConfig
from waveflow.metrics import find_recordings, match_recordings, vocode_recordings


def put(path, seconds=0.1, rate=8000):
    path.parent.mkdir(parents=True, exist_ok=True)
    io.write(path, torch.full((int(seconds * rate),), 0.25), rate)
    return path


def test_files_are_matched_by_stem_whatever_their_format_and_folder(tmp_path):
    put(tmp_path / "x/a.flac")
    put(tmp_path / "x/deep/b.wav")
    put(tmp_path / "y/b.wav")
    put(tmp_path / "y/a.wav")
    (tmp_path / "x/notes.txt").write_text("no sound")
    pairs, alone = match_recordings(tmp_path / "x", tmp_path / "y")
    assert list(pairs) == ["a", "b"]
    assert alone == {}
    clip = pairs["a"]()
    assert clip.sample_rate == 8000
    assert torch.equal(clip.reference, clip.synthesis)


def test_what_vocode_made_belongs_to_its_recording_unless_the_bare_stem_is_there(tmp_path):
    for name in ("x/a.wav", "x/b.wav", "x/b_waveflow.wav", "y/a.wav", "y/a_waveflow.wav", "y/b_waveflow.wav"):
        put(tmp_path / name)
    pairs, alone = match_recordings(tmp_path / "x", tmp_path / "y")
    assert [(stem, *(path.name for path in pair.args[:2])) for stem, pair in pairs.items()] == [
        ("a", "a.wav", "a.wav"),
        ("b_waveflow", "b_waveflow.wav", "b_waveflow.wav"),
    ]
    assert set(alone) == {"a_waveflow", "b"}
    (tmp_path / "x/b_waveflow.wav").unlink()
    (tmp_path / "y/a.wav").unlink()
    pairs, alone = match_recordings(tmp_path / "x", tmp_path / "y")
    assert {stem: pair.args[1].name for stem, pair in pairs.items()} == {"a": "a_waveflow.wav", "b": "b_waveflow.wav"}
    assert alone == {}


def test_stems_that_speakers_share_are_told_apart_by_their_folders(tmp_path):
    for name in ("x/bdl/a.wav", "x/slt/a.wav", "y/bdl/a_waveflow.wav", "y/slt/a_waveflow.wav"):
        put(tmp_path / name)
    pairs, alone = match_recordings(tmp_path / "x", tmp_path / "y")
    assert {stem: pair.args[1].relative_to(tmp_path / "y").as_posix() for stem, pair in pairs.items()} == {
        "bdl/a": "bdl/a_waveflow.wav",
        "slt/a": "slt/a_waveflow.wav",
    }
    assert alone == {}
    (tmp_path / "y/bdl/a_waveflow.wav").unlink()
    pairs, alone = match_recordings(tmp_path / "x", tmp_path / "y")
    assert (list(pairs), list(alone)) == (["slt/a"], ["bdl/a"])


@pytest.mark.parametrize("ending", ["_generated", "_generated_e2e", "_gen", "_synthesis"])
def test_what_other_vocoders_made_is_matched_with_the_ending_they_give_it(tmp_path, ending):
    put(tmp_path / "x/a.wav")
    put(tmp_path / f"y/a{ending}.wav")
    pairs, alone = match_recordings(tmp_path / "x", tmp_path / "y")
    assert [pair.args[1].name for pair in pairs.values()] == [f"a{ending}.wav"]
    assert alone == {}


def test_files_without_a_counterpart_are_named(tmp_path):
    for name in ("x/a.wav", "x/b.wav", "y/b.wav", "y/c.wav"):
        put(tmp_path / name)
    pairs, alone = match_recordings(tmp_path / "x", tmp_path / "y")
    assert list(pairs) == ["b"]
    assert alone["a"] == f"{tmp_path / 'x/a.wav'} has no counterpart in {tmp_path / 'y'}"
    assert alone["c"] == f"{tmp_path / 'y/c.wav'} has no counterpart in {tmp_path / 'x'}"


def test_two_files_are_a_pair_whatever_their_names(tmp_path):
    pairs, alone = match_recordings(put(tmp_path / "a.wav"), put(tmp_path / "b.wav", seconds=0.2))
    assert list(pairs) == ["a"]
    assert alone == {}
    assert len(pairs["a"]().synthesis) == 1600


def test_unequal_rates_are_refused_unless_one_is_named(tmp_path):
    x, y = put(tmp_path / "a.wav", rate=8000), put(tmp_path / "b.wav", rate=16000)
    with pytest.raises(ValueError, match=r"8000 Hz and .* 16000 Hz; .*--sample-rate 8000"):
        match_recordings(x, y)[0]["a"]()
    clip = match_recordings(x, y, sample_rate=8000)[0]["a"]()
    assert clip.sample_rate == 8000
    assert len(clip.reference) == len(clip.synthesis) == 800
    assert clip.notes == {}


def test_audio_compared_above_the_rate_of_its_file_has_a_note(tmp_path):
    x, y = put(tmp_path / "a.wav", rate=16000), put(tmp_path / "b.wav", rate=8000)
    note = "a file at 8000 Hz is compared at 16000 Hz, though it holds nothing above 4000 Hz"
    assert note in match_recordings(x, y, sample_rate=16000)[0]["a"]().notes["sample_rate"]
    vocoded = vocode_recordings({"b": y}, lambda mel, _: torch.zeros(1600), sample_rate=16000)
    assert note in vocoded["b"]().notes["sample_rate"]


def test_what_cannot_be_matched_is_refused(tmp_path):
    put(tmp_path / "x/a.wav")
    put(tmp_path / "y/b.wav")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no file of .* has the stem of one of"):
        match_recordings(tmp_path / "x", tmp_path / "y")
    with pytest.raises(ValueError, match="does not exist"):
        find_recordings(tmp_path / "z")
    with pytest.raises(ValueError, match="holds no sound files"):
        find_recordings(tmp_path / "empty")
    put(tmp_path / "x/a.flac")
    with pytest.raises(ValueError, match="share the stem by which files are matched"):
        find_recordings(tmp_path / "x")


def test_a_vocoder_is_given_the_mel_and_timed(tmp_path):
    recordings = find_recordings(put(tmp_path / "a.wav", seconds=1, rate=22050))
    seen = []

    def vocode(mel, config):
        seen.append((mel.shape, config))
        return torch.zeros(22050)

    clips = vocode_recordings(recordings, vocode, bits_per_sample=lambda audio: audio.mean() + len(audio))
    clip = clips["a"]()
    assert seen == [((80, 87), MelConfig())]
    assert clip.figures["bits_per_sample"] == pytest.approx(22050.25)
    assert clip.figures["x_real_time"] > 0
    assert torch.equal(clip.synthesis, torch.zeros(22050))
    halved = vocode_recordings(recordings, vocode, sample_rate=11025)["a"]()
    assert (len(halved.reference), set(halved.figures)) == (11025, {"x_real_time"})
