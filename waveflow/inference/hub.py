"""Vocoders on the Hugging Face Hub, and in directories laid out like it."""

from __future__ import annotations

import inspect
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from waveflow.checkpoints import native
from waveflow.extras import MissingExtra
from waveflow.inference.vocoder import Vocoder
from waveflow.models import MelFlow, config_to_dict, model_name
from waveflow.names import unknown_name

try:
    from huggingface_hub import ModelCard, ModelHubMixin, hf_hub_download
except ImportError as error:
    raise MissingExtra("huggingface_hub", "hub") from error

_CARD = """---
library_name: waveflow
pipeline_tag: text-to-speech
tags:
- vocoder
- normalizing-flow
- {model}
---

# {model}

A vocoder: it turns mel spectrograms into waveforms at {rate} Hz, and waveforms into exact likelihoods.

```python
from waveflow.inference.hub import HubVocoder

vocoder = HubVocoder.from_pretrained("{repo}")
audio = vocoder(mel)  # (n_mels, F) or (B, n_mels, F), of the convention below
```

## Mel convention

{mel}

## Model

{config}

## Training and measurements

{metadata}
"""


class HubVocoder(Vocoder, ModelHubMixin, library_name="waveflow"):
    """A vocoder with `from_pretrained`, `save_pretrained` and `push_to_hub`, whose files are the native checkpoint's.

    Args:
        model: The trained flow.
        metadata: Facts about it, plain JSON values: training, data, metrics; they go into the checkpoint and its card.
        options: As `Vocoder`'s.
    """

    def __init__(self, model: MelFlow, *, metadata: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(model, **options)
        self.metadata = metadata or {}

    def _save_pretrained(self, save_directory: Path) -> None:
        # A checkpoint takes a directory to itself, and a repository has a card beside it.
        with tempfile.TemporaryDirectory(dir=save_directory) as folder:
            written = native.save(self.model, Path(folder) / "checkpoint", metadata=self.metadata)
            for name in (native.WEIGHTS, native.CONFIG):
                os.replace(written / name, save_directory / name)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> HubVocoder:
        """Load what `save_pretrained` or `push_to_hub` wrote.

        Args:
            pretrained_model_name_or_path: A repository on the Hub, or a directory.
            options: `device` (`auto` unless given), `dtype` and `backend` as `waveflow.load`'s; `revision`, `token`,
                `cache_dir`, `force_download` and `local_files_only` as huggingface_hub's.

        Raises:
            ValueError: An option of another name, or no sound checkpoint.
        """
        parameters = inspect.signature(super().from_pretrained).parameters.values()
        known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY] + ["device", "dtype", "backend"]
        for key in options:
            if key not in known:
                raise ValueError(unknown_name("option of from_pretrained", key, known))
        return super().from_pretrained(pretrained_model_name_or_path, **options)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        device: torch.device | str = "auto",
        dtype: torch.dtype | str | None = None,
        backend: str = "auto",
        **_: Any,  # what the mixin found in config.json; `from_pretrained` takes nothing unknown
    ) -> HubVocoder:
        directory = Path(model_id)
        if not directory.is_dir():
            for name in (native.CONFIG, native.WEIGHTS):
                path = hf_hub_download(
                    model_id,
                    name,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    token=token,
                    local_files_only=local_files_only,
                )
                directory = Path(path).parent
        facts = native.read_facts(directory)
        options = {"device": device, "dtype": dtype, "backend": backend, "name": Path(model_id).name}
        return cls(native.load(directory), metadata=facts["metadata"], **options)

    def generate_model_card(self, *args: Any, repo_id: str = "DIRECTORY-OR-REPOSITORY", **kwargs: Any) -> ModelCard:
        """The card: what the model is, how to use it, its mel convention, its config, and what its metadata tell."""
        config = config_to_dict(self.config)
        mel = config.pop("mel")
        told = json.dumps(self.metadata, indent=2) if self.metadata else ""
        return ModelCard(
            _CARD.format(
                model=model_name(self.model),
                rate=self.sample_rate,
                repo=repo_id,
                mel=_table(mel),
                config=_table(config),
                metadata=f"```json\n{told}\n```" if told else "Nothing is known of them.",
            )
        )


def _table(settings: dict[str, Any]) -> str:
    rows = "\n".join(f"| `{key}` | {value} |" for key, value in settings.items() if value is not None)
    return f"| setting | value |\n|-|-|\n{rows}"
