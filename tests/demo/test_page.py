"""The page in a browser, with a real clip and the bundled model."""

import numpy as np
import pytest
import soundfile
from conftest import DATA

pytest.importorskip("gradio", reason="needs the extra: pip install 'waveflow[demo]'")
pytest.importorskip("matplotlib", reason="needs the extra: pip install 'waveflow[demo]'")

from gradio import Error
from gradio.data_classes import FileData

from waveflow.audio.mel import MelConfig
from waveflow.audio.mel_files import write_mel
from waveflow.demo.page import build, launch
from waveflow.demo.resynthesis import keeper, prepare, prepare_mel, resynthesise
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


def test_the_page_takes_a_mel_or_a_recording_and_asks_for_one_of_them(tmp_path):
    vocoder = load("lapglow", device="cpu", backend="reference")
    np.save(tmp_path / "mel.npy", vocoder.mel(prepare(str(CLIP), 22050))[:, :60].numpy())
    page = build(["lapglow"], lambda name: vocoder)
    field = next(block for block in page.blocks.values() if block.elem_id == "mel")
    mel = field.preprocess(FileData(path=str(tmp_path / "mel.npy")))
    (press,) = page.fns.values()
    (rate, audio), summary, _, _, likelihood = press.fn(None, mel, "lapglow", 0.8, 0, 0, 0)
    assert (rate, len(audio), likelihood) == (22050, 60 * 256, None)
    assert "x real time" in summary
    with pytest.raises(Error, match="Record or upload some speech, or upload a mel first"):
        press.fn(None, None, "lapglow", 0.8, 0, 0, 0)
    with pytest.raises(Error, match="both given; remove one"):
        press.fn(str(CLIP), mel, "lapglow", 0.8, 0, 0, 0)


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


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".safetensors"])
def test_a_mel_file_is_spoken_as_the_vocoder_speaks_it(tmp_path, suffix):
    vocoder = load("lapglow", device="cpu", backend="reference")
    mel = vocoder.mel(prepare(str(CLIP), 22050))[:, :60]
    write_mel(tmp_path / f"mel{suffix}", mel)
    given = prepare_mel(str(tmp_path / f"mel{suffix}"), vocoder.config.mel)
    found = resynthesise(vocoder, given, sigma=0.8, denoise=0.0, project=0, seed=3)
    assert np.array_equal(found.audio, vocoder(mel, sigma=0.8, seed=3).clamp(-1, 1).numpy())
    assert found.likelihood is None
    assert "Likelihood" not in found.summary


@pytest.mark.parametrize(
    ("shape", "reason"),
    [((79, 50), "79 bands"), ((80, 3), "expected 0.1 to 20"), ((80, 2000), "expected 0.1 to 20"), ((2, 80, 9), "one")],
)
def test_mels_that_cannot_be_spoken_are_refused(tmp_path, shape, reason):
    np.save(tmp_path / "mel.npy", np.full(shape, -5, "f4"))
    with pytest.raises(ValueError, match=reason):
        prepare_mel(str(tmp_path / "mel.npy"), MelConfig())


def test_a_file_without_a_mel_is_refused_by_its_name_alone(tmp_path):
    (tmp_path / "mel.npy").write_bytes(b"garbage")
    with pytest.raises(ValueError, match=r"^mel\.npy cannot be read as a mel"):
        prepare_mel(str(tmp_path / "mel.npy"), MelConfig())


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
