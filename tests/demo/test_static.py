"""The static page in a browser: the model in ONNX Runtime Web, on a real clip."""

import functools
import http.server
import importlib.util
import io
import re
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import DATA

from waveflow.inference import load
from waveflow.inference.export import Graph, _facts

from .browser import opened

ROOT = Path(__file__).resolve().parents[2]
CLIP = DATA / "ljspeech" / "wavs" / "LJ001-0002.flac"
MODEL = "lapglow-tiny"


@pytest.fixture(scope="module")
def build_demo():
    spec = importlib.util.spec_from_file_location("build_demo", ROOT / "scripts" / "build_demo.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["build_demo"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def url(build_demo, tmp_path_factory):
    pytest.importorskip("onnxscript", reason="needs the extra: pip install 'waveflow[export]'")
    folder = tmp_path_factory.mktemp("demo")
    try:
        package = build_demo.download(folder)
    except RuntimeError as error:
        pytest.skip(f"needs ONNX Runtime Web from the npm registry: {error}")
    page = folder / "page"
    shutil.copytree(build_demo.PAGE, page, ignore=shutil.ignore_patterns("dist"))
    build_demo.build(MODEL, page / "dist", package)
    handler = functools.partial(Quiet, directory=page)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def heard(page):
    """The samples of the page's resynthesis."""
    data = page.evaluate(
        "async () => Array.from(new Uint8Array(await (await fetch(document.getElementById('resynthesis').src))"
        ".arrayBuffer()))"
    )
    audio, rate = soundfile.read(io.BytesIO(bytes(data)), dtype="float32")
    assert rate == 22050
    return torch.from_numpy(audio)


def test_the_worker_feeds_the_model_by_the_names_that_the_export_gives_its_inputs():
    """Needs no browser, unlike the tests that would run it."""
    model = load(MODEL, device="cpu", backend="reference").model
    named = _facts(Graph(model, from_audio=True, draw_noise=True), model)["inputs"]
    fed = re.findall(r"^ +(\w+): new ort\.Tensor", (ROOT / "docs/demo/worker.js").read_text(encoding="utf-8"), re.M)
    assert fed == [*named]


def test_the_browser_makes_the_offline_audio_and_asks_nobody_outside(url, tmp_path):
    samples, rate = soundfile.read(CLIP, dtype="float32")
    soundfile.write(tmp_path / "clip.wav", samples, rate)
    with opened(url, width=390, height=844) as (page, outside):
        # Selectors alone: the page's policy lets nobody evaluate strings in it.
        page.wait_for_selector("#status[data-state=ready]")
        page.fill("#seed", "7")
        page.set_input_files("#file", tmp_path / "clip.wav")
        page.wait_for_selector("#status[data-state=done]")
        assert float(page.inner_text("#factor")) > 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        lit = (
            "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(v => v > 200)"
        )
        assert page.eval_on_selector("#resynthesis-picture", lit)
        found = heard(page)
        assert outside == []
    audio = torch.from_numpy(samples)
    whole = torch.nn.functional.pad(audio, (0, -len(audio) % 256))
    vocoder = load(MODEL, device="cpu", backend="reference")
    expected = vocoder(vocoder.mel(whole)[:, : len(whole) // 256], seed=7)[: len(audio)]
    error = (found - expected.clamp(-1, 1)).square().sum()
    assert 10 * torch.log10(expected.square().sum() / error) > 60


def test_what_the_page_cannot_speak_it_says_and_what_is_too_long_it_shortens(url, tmp_path):
    samples, rate = soundfile.read(CLIP, dtype="float32")
    stereo = np.stack([samples, samples / 2], axis=-1)
    soundfile.write(tmp_path / "short.wav", samples[:500], rate)
    soundfile.write(tmp_path / "silent.wav", np.zeros(rate), rate)
    soundfile.write(tmp_path / "stereo.wav", stereo, 48000)
    soundfile.write(tmp_path / "long.wav", np.concatenate([samples] * 12), rate)
    (tmp_path / "letter.wav").write_text("no recording")
    with opened(url) as (page, _):
        page.wait_for_selector("#status[data-state=ready]")
        for name, state, words in (
            ("short.wav", "wrong", "The recording is 0.02 s long; at least 0.1 s are needed."),
            ("silent.wav", "wrong", "The recording is silent; choose another, or look at the microphone's level."),
            ("letter.wav", "wrong", "This is no recording that the browser can read; try wav, mp3 or flac."),
            ("stereo.wav", "done", "Done."),
            ("long.wav", "done", "Done. The first 20 of 23 s were taken."),
            ("silent.wav", "wrong", "The recording is silent; choose another, or look at the microphone's level. "
                "Below is still the recording before."),
        ):  # fmt: skip
            page.set_input_files("#file", tmp_path / name)
            page.wait_for_selector(f"#status[data-state={state}]")
            assert page.inner_text("#status") == words
            assert page.is_visible("#speed") == (state == "done")
        assert len(heard(page)) == 20 * 22050


def test_a_package_that_is_not_the_one_looked_at_is_refused(build_demo, tmp_path):
    (tmp_path / "other.tgz").write_bytes(b"something else")
    with pytest.raises(RuntimeError, match="expected"):
        build_demo.unpack(tmp_path / "other.tgz", tmp_path)
