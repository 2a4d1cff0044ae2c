"""A vocoder for torchaudio's Tacotron 2 pipelines."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torchaudio.pipelines import Tacotron2TTSBundle

from waveflow.audio.mel_config import MelConfig
from waveflow.audio.mel_convert import convert_mel, refuse_foreign
from waveflow.inference.vocoder import Vocoder


class TorchaudioVocoder(Tacotron2TTSBundle.Vocoder):
    """`(specgrams, lengths) -> (waveforms, lengths)`, in place of `bundle.get_vocoder()`.

    Args:
        vocoder: The vocoder.
        mel: Convention of the acoustic model; torchaudio's Tacotron 2 follows NVIDIA's.
        settings: Of the vocoder's call: `sigma`, `seed`, `denoise`, `project`.

    Raises:
        ValueError: Mels of that convention cannot become those that the vocoder takes.
    """

    def __init__(self, vocoder: Vocoder, mel: MelConfig | None = None, **settings: Any) -> None:
        self.vocoder, self.settings = vocoder, settings
        self.mel = MelConfig() if mel is None else mel
        refuse_foreign(self.mel, vocoder.config.mel)

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.vocoder.sample_rate

    def __call__(self, specgrams: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Synthesise.

        Args:
            specgrams: Mels, `(B, n_mels, F)`.
            lengths: `(B,)` frames.

        Returns:
            `(B, F * hop_length)` and the samples of each, `(B,)`, or None where no lengths were given.
        """
        mel = convert_mel(specgrams, self.mel, self.vocoder.config.mel)
        if lengths is None:
            return self.vocoder(mel, **self.settings).to(specgrams.device), None
        audio, samples = self.vocoder(mel, lengths + (mel.shape[-1] - specgrams.shape[-1]), **self.settings)
        return audio.to(specgrams.device), samples.to(specgrams.device)
