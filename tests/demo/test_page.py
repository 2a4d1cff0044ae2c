"""The page in a browser, with a real clip and the bundled model."""

import numpy as np
import pytest
import soundfile
from conftest import DATA

pytest.importorskip("gradio", reason="needs the extra: pip install 'waveflow[demo]'")
pytest.importorskip("matplotlib", reason="needs the extra: pip install 'waveflow[demo]'")

from gradio.data_classes import FileData

from waveflow.demo.page import build, launch
from waveflow.demo.resynthesis import keeper, prepare
from waveflow.inference import load

from .browser import opened

CLIP = DATA / "ljspeech" / "wavs" / "LJ001-0002.flac"


@pytest.fixture(scope="module")
def url():
    page = build(["lapglow"], lambda name: load(name, device="cpu", backend="reference"))
    yield launch(page, "127.0.0.1", 0, open_browser=False, block=False)
    page.close()


def test_a_clip_is_resynthesised_in_a_browser_and_nobody_outside_is_asked(url, tmp_path):
    audio, rate = soundfile.read(CLIP)
    soundfile.write(tmp_path / "clip.wav", audio, rate)
    # On the width of a phone.
    with opened(url, width=390, height=800) as (page, outside):
        page.set_input_files("#recording input[type=file]", tmp_path / "clip.wav")
        page.wait_for_selector("#recording audio", state="attached")
        page.click("#resynthesise")
        page.wait_for_selector("#summary strong")
        assert "x real time" in page.inner_text("#summary")
        for name in ("likelihood", "recording-mel", "resynthesis-mel"):
            page.wait_for_function(f"document.querySelector('#{name} img')?.naturalWidth > 400")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert outside == []


def test_the_page_forbids_browsers_to_load_anything_from_elsewhere(url):
    import urllib.request

    with urllib.request.urlopen(url) as answer:
        assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_recordings_become_mono_at_the_models_rate(tmp_path):
    stereo = (np.ones((48000, 2)) * [8192, 16384]).astype(np.int16)
    soundfile.write(tmp_path / "stereo.flac", stereo, 48000)
    audio = prepare(str(tmp_path / "stereo.flac"), 22050)
    assert audio.shape == (22050,)
    assert abs(float(audio[11025]) - 0.375) < 0.01


@pytest.mark.parametrize(("n_samples", "reason"), [(0, "no samples"), (100, "at least 0.1"), (8000 * 21, "at most 20")])
def test_recordings_of_the_wrong_length_are_refused(tmp_path, n_samples, reason):
    soundfile.write(tmp_path / "clip.wav", np.zeros(n_samples, "i2"), 8000)
    with pytest.raises(ValueError, match=reason):
        prepare(str(tmp_path / "clip.wav"), 22050)


def test_a_file_without_sound_is_refused_by_its_name_alone(tmp_path):
    path = tmp_path / "speech.wav"
    path.write_bytes(b"RIFF1234WAVEgarbage" * 50)
    with pytest.raises(ValueError, match=r"^speech\.wav is no sound file"):
        prepare(str(path), 22050)


@pytest.mark.parametrize("name", ["clip.flac", "clip.ogg"])
def test_what_a_recording_is_written_in_does_not_matter_to_the_page(name, tmp_path):
    """Gradio itself reads WAV alone where there is no ffmpeg."""
    audio, rate = soundfile.read(CLIP)
    soundfile.write(tmp_path / name, audio, rate)
    page = build(["lapglow"], lambda name: load(name, device="cpu", backend="reference"))
    recording = next(block for block in page.blocks.values() if block.elem_id == "recording")
    given = recording.preprocess(FileData(path=str(tmp_path / name)))
    assert len(prepare(given, 22050)) == len(audio)


def test_models_that_were_not_offered_are_not_looked_for():
    with pytest.raises(ValueError, match="choose one of a, b"):
        keeper(["a", "b"], lambda name: pytest.fail(name))("/etc")
