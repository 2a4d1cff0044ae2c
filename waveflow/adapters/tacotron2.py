"""Text to speech with torchaudio's Tacotron 2."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchaudio.pipelines import TACOTRON2_GRIFFINLIM_CHAR_LJSPEECH as BUNDLE

from waveflow.adapters.torchaudio import TorchaudioVocoder
from waveflow.inference.vocoder import Vocoder

URL = "https://download.pytorch.org/torchaudio/models/tacotron2_english_characters_1500_epochs_ljspeech.pth"
PAUSE_SECONDS = 0.25


def weights_path() -> Path:
    """Where torchaudio looks for the weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / URL.rsplit("/", 1)[1]


class Speaker:
    """English text to audio: torchaudio's character-based Tacotron 2 of LJSpeech, and a vocoder.

    Source: Tacotron 2 (arXiv:1712.05884).

    Args:
        vocoder: Takes mels of NVIDIA's convention, or ones that they can become.
        download: Fetch the weights of Tacotron 2, about 110 MB, where they are not in torch's cache.
        settings: Of the vocoder's call: `sigma`, `denoise`, `project`.

    Raises:
        ValueError: The weights are not there and must not be fetched, or the vocoder takes other mels.
    """

    def __init__(self, vocoder: Vocoder, *, download: bool = False, **settings: Any) -> None:
        path = weights_path()
        if not (download or path.is_file()):
            raise ValueError(
                f"the weights of torchaudio's Tacotron 2 are not at {path}; fetch them there with --download "
                f"(download=True), or by hand: curl --create-dirs -o '{path}' {URL}"
            )
        self.vocoder, self.settings = vocoder, settings
        TorchaudioVocoder(vocoder)
        self._tokens = BUNDLE.get_text_processor()
        self._tacotron2 = BUNDLE.get_tacotron2(dl_kwargs={"weights_only": True, "progress": False}).to(vocoder.device)

    def unspoken(self, text: str) -> str:
        """The characters of a text that Tacotron 2 was not taught, each once: digits and foreign letters."""
        return "".join(sorted({c for c in text if not c.isspace() and c.lower() not in self._tokens.tokens}))

    @torch.no_grad()
    def __call__(self, text: str, seed: int = 0) -> Tensor:
        """Speak a text, sentence by sentence, to audio `(T,)`; the same seed gives the same audio.

        Raises:
            ValueError: Nothing in it can be spoken.
        """
        sentences = [s for s in re.split(r"(?<=[.!?;:])\s+", " ".join(text.split())) if re.search("[A-Za-z]", s)]
        if not sentences:
            raise ValueError(f"the text {text!r} has no letters to speak; write English words, numbers too")
        device = self.vocoder.device
        pause = torch.zeros(round(PAUSE_SECONDS * self.vocoder.sample_rate), device=device)
        pieces: list[Tensor] = []
        # The decoder's dropout stays on in synthesis; it must neither follow nor disturb the caller's generator.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            for i, sentence in enumerate(sentences):
                torch.manual_seed(seed + i)
                tokens, lengths = self._tokens(sentence)
                mel, frames, _ = self._tacotron2.infer(tokens.to(device), lengths.to(device))
                audio, samples = TorchaudioVocoder(self.vocoder, seed=seed + i, **self.settings)(mel, frames)
                assert samples is not None
                pieces += [audio[0, : samples[0]], pause]
        return torch.cat(pieces[:-1])
