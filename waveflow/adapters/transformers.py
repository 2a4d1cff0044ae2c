"""A vocoder for Hugging Face's text-to-speech models."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from waveflow.audio.mel_config import MelConfig
from waveflow.audio.mel_convert import convert_mel, refuse_foreign
from waveflow.inference.vocoder import Vocoder


class TransformersVocoder(nn.Module):
    """`spectrogram -> waveform`, as `vocoder=` of SpeechT5's `generate_speech`, or FastSpeech2Conformer's `vocoder`.

    Frames at the end of an item that are zero in every band are its padding, and silent.

    Args:
        vocoder: The vocoder.
        mel: Convention of the acoustic model, such as `waveflow.adapters.speecht5()`; the vocoder's own unless given.
        settings: Of the vocoder's call: `sigma`, `seed`, `denoise`, `project`.

    Raises:
        ValueError: Mels of that convention cannot become those that the vocoder takes.
    """

    def __init__(self, vocoder: Vocoder, mel: MelConfig | None = None, **settings: Any) -> None:
        super().__init__()
        self.vocoder, self.settings = vocoder, settings
        self.mel = vocoder.config.mel if mel is None else mel
        refuse_foreign(self.mel, vocoder.config.mel)

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.vocoder.sample_rate

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Map mels `(B, F, n_mels)` or `(F, n_mels)` to audio `(B, F * hop_length)` or `(F * hop_length,)`."""
        mel = spectrogram.transpose(-1, -2)
        converted = convert_mel(mel, self.mel, self.vocoder.config.mel)
        if mel.dim() == 2:
            return self.vocoder(converted, **self.settings).to(spectrogram.device)
        spoken = (mel != 0).any(1).long().flip(-1).cummax(-1).values.sum(-1).clamp_min(1)
        lengths = spoken + (converted.shape[-1] - mel.shape[-1])
        return self.vocoder(converted, lengths, **self.settings)[0].to(spectrogram.device)
