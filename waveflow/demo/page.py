"""The page itself, in Gradio, which is kept from calling anybody outside."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

# Read once, when Gradio is imported.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gradio as gr
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from torch import Tensor

from waveflow.audio.quantizing import quantize
from waveflow.audio.suffixes import MEL_SUFFIXES
from waveflow.demo.resynthesis import MAX_SECONDS, keeper, prepare, prepare_mel, resynthesise
from waveflow.inference import Vocoder

FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "monospace"]
# The browser itself refuses whatever is not this server's.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; worker-src 'self' blob:; frame-ancestors 'self'"
)
CSS = """
.gradio-container { max-width: 1080px !important; margin: 0 auto !important; }
footer { display: none !important; }
h1 { font-weight: 600; letter-spacing: -0.01em; margin-bottom: 0; }
"""
INTRODUCTION = """# waveflow

Record or upload some speech. Its mel spectrogram is all that the model is told: the voice you hear is made anew from it
and from noise. Or upload a mel, as an acoustic model left it."""
LEGEND = """Under the waveform, the log-likelihood of each mel frame of the recording: its share of the exact
log-likelihood, prior and log-determinant, divided by its samples. Frames add up to the whole. Low is a surprise to the
model: clicks, clipping, music, noise; silence is easy, and high."""


def build(models: Sequence[str], load: Callable[[str], Vocoder]) -> gr.Blocks:
    """Make the page.

    Args:
        models: Names to choose from, the first one chosen.
        load: Makes a vocoder of a name.
    """
    vocoder_of = keeper(models, load)

    def run(
        recording: str | None,
        mel: str | None,
        name: str,
        sigma: float,
        denoise: float,
        project: float,
        seed: float | None,
    ) -> tuple:
        try:
            vocoder = vocoder_of(name)
            given = _prepared(recording, mel, vocoder)
            found = resynthesise(
                vocoder, given, sigma=sigma, denoise=denoise, project=int(project), seed=int(seed or 0)
            )
        except ValueError as error:
            raise gr.Error(f"{error}", print_exception=False) from error
        return (found.sample_rate, quantize(found.audio).numpy()), found.summary, *found.spectrograms, found.likelihood

    with gr.Blocks(title="waveflow", analytics_enabled=False, delete_cache=(600, 600)) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column(min_width=300):
                recording = gr.Audio(
                    sources=["upload", "microphone"],
                    # Not "numpy": Gradio reads nothing but WAV without ffmpeg, and says so to the terminal alone.
                    type="filepath",
                    label=f"Recording, at most {MAX_SECONDS:g} s",
                    buttons=[],
                    elem_id="recording",
                )
                mel = gr.File(
                    file_types=list(MEL_SUFFIXES), type="filepath", label="Or a mel instead", height=120, elem_id="mel"
                )
                name = gr.Dropdown(list(models), value=models[0], label="Model")
                sigma = gr.Slider(0, 1.2, vocoder_of(models[0]).config.sigma, step=0.05, label="Sigma of the noise")
                project = gr.Slider(0, 16, 2, step=1, label="Rounds of projection onto the mel")
                denoise = gr.Slider(0, 0.1, 0, step=0.005, label="Denoising")
                seed = gr.Number(0, precision=0, minimum=0, maximum=2**53, label="Seed")
                start = gr.Button("Resynthesise", variant="primary", elem_id="resynthesise")
            with gr.Column(min_width=300):
                heard = gr.Audio(label="Resynthesis", interactive=False, buttons=["download"], elem_id="heard")
                summary = gr.Markdown(elem_id="summary")
                likelihood = _picture("likelihood")
        with gr.Row():
            own, made = _picture("recording-mel"), _picture("resynthesis-mel")
        gr.Markdown(LEGEND)
        given = [recording, mel, name, sigma, denoise, project, seed]
        start.click(run, given, [heard, summary, own, made, likelihood], concurrency_limit=1, api_visibility="private")
    return page


def _prepared(recording: str | None, mel: str | None, vocoder: Vocoder) -> Tensor:
    """The one thing given: a recording `(T,)`, or a mel `(n_mels, F)`.

    Raises:
        ValueError: Nothing was given, or both, or it is refused.
    """
    if recording is None and mel is None:
        raise ValueError("Record or upload some speech, or upload a mel first.")
    if recording is not None and mel is not None:
        raise ValueError("A recording and a mel were both given; remove one.")
    if mel is not None:
        return prepare_mel(mel, vocoder.config.mel)
    assert recording is not None
    return prepare(recording, vocoder.sample_rate)


def _picture(name: str) -> gr.Image:
    return gr.Image(show_label=False, buttons=[], interactive=False, min_width=300, format="png", elem_id=name)


def launch(page: gr.Blocks, host: str, port: int, *, open_browser: bool, block: bool = True) -> str:
    """Serve the page; the address it is at."""
    theme = gr.themes.Base(primary_hue="blue", neutral_hue="slate", font=FONT, font_mono=MONO)
    page.queue(max_size=16)
    _, url, _ = page.launch(
        server_name=host,
        server_port=port or None,
        inbrowser=open_browser,
        share=False,
        ssr_mode=False,
        quiet=True,
        max_file_size="32mb",
        enable_monitoring=False,
        footer_links=[],
        theme=theme,
        css=CSS,
        prevent_thread_lock=not block,
        app_kwargs={"middleware": [Middleware(Policy)]},
    )
    return url


class Policy:
    """ASGI middleware that tells browsers to load nothing from elsewhere."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def strict(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", POLICY.encode()),
                    (b"referrer-policy", b"no-referrer"),
                ]
            await send(message)

        await self.app(scope, receive, strict)
