"""The page in a browser, with a real clip and the bundled model."""

import numpy as np
import pytest
import soundfile
from conftest import DATA

pytest.importorskip("gradio", reason="needs the extra: pip install 'waveflow[demo]'")
pytest.importorskip("matplotlib", reason="needs the extra: pip install 'waveflow[demo]'")

from waveflow.demo.resynthesis import keeper, prepare
from waveflow.inference import load

from .browser import opened

CLIP = DATA / "ljspeech" / "wavs" / "LJ001-0002.flac"


@pytest.fixture(scope="module")
def url():
    from waveflow.demo.page import build, launch

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


def test_recordings_of_a_browser_become_mono_at_the_models_rate():
    stereo = (np.ones((48000, 2)) * [8192, 16384]).astype(np.int16)
    audio = prepare(48000, stereo, 22050)
    assert audio.shape == (22050,)
    assert abs(float(audio[11025]) - 0.375) < 0.01


@pytest.mark.parametrize(
    ("samples", "reason"),
    [(np.zeros(0, "i2"), "empty"), (np.zeros(100, "i2"), "at least 0.1"), (np.zeros(8000 * 21, "i2"), "at most 20")],
)
def test_recordings_of_the_wrong_length_are_refused(samples, reason):
    with pytest.raises(ValueError, match=reason):
        prepare(8000, samples, 22050)


def test_models_that_were_not_offered_are_not_looked_for():
    with pytest.raises(ValueError, match="choose one of a, b"):
        keeper(["a", "b"], lambda name: pytest.fail(name))("/etc")
