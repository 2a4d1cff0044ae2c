import json

import pytest
import torch

from waveflow.audio.io import write
from waveflow.data.discovery import find_recordings


def clip(path, text=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, 0.1 * torch.randn(2000), 22050)
    if text:
        text_path, words = text
        text_path.parent.mkdir(parents=True, exist_ok=True)
        text_path.write_text(words + "\n")


def facts(folder, **options):
    return [(r.id, r.speaker, r.text) for r in find_recordings(folder, **options)]


def test_vctk_gives_speakers_texts_and_one_microphone(tmp_path):
    for mic in ("mic1", "mic2"):
        clip(
            tmp_path / f"wav48_silence_trimmed/p225/p225_001_{mic}.flac", (tmp_path / "txt/p225/p225_001.txt", "Please")
        )
    clip(tmp_path / "wav48_silence_trimmed/s5/s5_004_mic1.flac")
    assert facts(tmp_path) == [("p225/p225_001", "p225", "Please"), ("s5/s5_004", "s5", "")]


def test_the_older_vctk_is_known_too(tmp_path):
    clip(tmp_path / "wav48/p226/p226_002.wav", (tmp_path / "txt/p226/p226_002.txt", "Ask her"))
    assert facts(tmp_path) == [("p226/p226_002", "p226", "Ask her")]


@pytest.mark.parametrize("inside", ["", "train-clean-100"])
def test_libritts_gives_speakers_from_below_its_subsets(tmp_path, inside):
    for subset, name in (("train-clean-100", "103_1241_000000_000001"), ("dev-other", "116_288045_000003_000000")):
        speaker, chapter, *_ = name.split("_")
        folder = tmp_path / subset / speaker / chapter
        clip(folder / f"{name}.wav", (folder / f"{name}.normalized.txt", f"text of {speaker}"))
    found = facts(tmp_path / inside)
    expected = [("103/1241/103_1241_000000_000001", "103", "text of 103")]
    if not inside:
        expected.append(("116/288045/116_288045_000003_000000", "116", "text of 116"))
    assert found == expected


def test_hi_fi_tts_gives_speakers_from_its_lists(tmp_path):
    path = "audio/11614_other/10547/thousand_0003.flac"
    clip(tmp_path / path)
    line = {"audio_filepath": path, "text": "Of a", "text_normalized": "Of\u2028a.", "duration": 1.0}
    missing = {**line, "audio_filepath": path.replace("0003", "0004")}
    listing = tmp_path / "11614_manifest_other_train.json"
    listing.write_text("\n".join(json.dumps(facts, ensure_ascii=False) for facts in (line, missing)))
    assert facts(tmp_path) == [(f"11614/10547/thousand_000{n}", "11614", "Of\u2028a.") for n in (3, 4)]
    assert [r.path is None for r in find_recordings(tmp_path)] == [False, True]


def test_a_list_that_leads_outside_or_is_damaged_is_refused(tmp_path):
    listing = tmp_path / "9017_manifest_clean_dev.json"
    listing.write_text('{"audio_filepath": "../secret.flac"}')
    with pytest.raises(ValueError, match="expected a path below"):
        find_recordings(tmp_path)
    listing.write_text('{"audio_filepath": ')
    with pytest.raises(ValueError, match="line 1 is no entry of Hi-Fi TTS"):
        find_recordings(tmp_path)


def test_a_name_given_for_the_speaker_wins(tmp_path):
    clip(tmp_path / "wav48/p226/p226_002.wav")
    assert facts(tmp_path, speaker="anna") == [("anna/p226/p226_002", "anna", "")]


def test_a_folder_of_another_layout_is_searched_through(tmp_path):
    clip(tmp_path / "anna/one.wav")
    assert facts(tmp_path) == [("anna/one", "anna", "")]
