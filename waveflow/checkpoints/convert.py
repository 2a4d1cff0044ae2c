"""From another project's file to the native form, with evidence that the result is the flow it should be."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from waveflow.audio.mel import MelConfig
from waveflow.checkpoints import native, nemo
from waveflow.checkpoints.atomic import entries
from waveflow.checkpoints.detect import understand
from waveflow.checkpoints.errors import CheckpointError
from waveflow.checkpoints.foreign import Foreign, read_foreign
from waveflow.checkpoints.proof import USUAL_ERROR_FLOAT32, Proof, prove
from waveflow.checkpoints.weights import Found
from waveflow.models import MelFlow, WaveGlow, config_to_dict


@dataclass
class Conversion:
    """What was found, what was made of it, and what was measured.

    Attributes:
        source: The file.
        source_sha256: Its SHA-256.
        destination: The native checkpoint.
        format: Container and contents of the file.
        model: The registry's name of the model.
        generation: 1 to 3, of NVIDIA's key names; None for other models.
        weight_norm: Whether the file has weight norm.
        source_dtype: Precision of its weights.
        n_parameters: Number of trained values of the model.
        config: The model's config, the mel contract inside.
        proof: Round trip and log-determinant.
        facts: What the file says about its training.
        notes: What the weights cannot tell and was assumed.
    """

    source: str
    source_sha256: str
    destination: str
    format: str
    model: str
    generation: int | None
    weight_norm: bool
    source_dtype: str
    n_parameters: int
    config: dict[str, Any]
    proof: Proof
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def convert(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    swap_halves: bool = False,
    options: dict[str, Any] | None = None,
    mel: str | dict[str, Any] | MelConfig | None = None,
    sample_rate: int | None = None,
    hop_length: int | None = None,
    sigma: float | None = None,
    dtype: torch.dtype | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Convert another project's checkpoint to a native one.

    Known are WaveGlows of NVIDIA/waveglow, DeepLearningExamples, torch.hub and NeMo, SqueezeWave, FloWaveNet,
    and WaveFlows of L0SG/WaveFlow and PaddleSpeech. Nothing in the file is executed. The config is read off the
    shapes of the weights. The result is proved to invert, and its log-determinant to be right, before anything is
    written.

    Args:
        source: A file that `torch.save` wrote (`.pt`, `.pth`, `.pth.tar`, ...), or a `.safetensors`, `.nemo` or
            `.pdparams`.
        destination: The native checkpoint's directory.
        swap_halves: The file is of the earliest release (`waveglow_old.pt`, glow_old.py), whose every other
            flow changes the first half of the channels. The weights cannot tell; a wrong guess gives noise.
        options: Other fields of the model's config that no shape tells: of L0SG's WaveFlow `n_group`,
            `n_layers_per_cycle` and `permutation`, of PaddleSpeech's `n_group`.
        mel: The mel contract: a preset, a config, or its fields; the project's own unless given, or what a
            `.nemo` states.
        sample_rate: Overrides that of the mel contract.
        hop_length: Overrides that of the mel contract: the weights tell the upsampling's kernel, not its
            stride.
        sigma: Default standard deviation of the latent.
        dtype: Precision on disk, float32 unless given.
        overwrite: Replace a checkpoint that is there.

    Raises:
        CheckpointError: The file is unsound, malicious, or of another model; the result is no flow; or the
            destination cannot be written. Nothing is left at the destination.
        ValueError: The destination exists, an option or sigma is none, or the mel contract is none.
    """
    destination = Path(destination)
    if sigma is not None and not 0 <= sigma < math.inf:
        raise ValueError(f"sigma is {sigma!r}, expected a number of at least 0")
    if not overwrite and (entries(destination) or destination.is_file()):
        raise ValueError(f"{destination} exists; choose another place, or say overwrite=True (--overwrite)")
    foreign = read_foreign(source)
    found = understand(
        foreign.tensors, str(source), {**(options or {}), **({"swap_halves": True} if swap_halves else {})}
    )
    contract = _mel_contract(foreign, found, mel, sample_rate, hop_length, str(source))
    found.weights = {key: native.portable(key, value, dtype) for key, value in found.weights.items()}
    model = found.build(contract, **({} if sigma is None else {"sigma": sigma}))
    try:
        proof = prove(model)
    except CheckpointError as error:
        raise CheckpointError(f"{source} was read, but {error}") from error
    report = Conversion(
        source=str(source),
        source_sha256=foreign.sha256,
        destination=str(destination),
        format=foreign.format,
        model=found.model,
        generation=found.generation,
        weight_norm=found.weight_norm,
        source_dtype=str(found.dtype).removeprefix("torch."),
        n_parameters=sum(value.numel() for value in model.parameters()),
        config=config_to_dict(model.config),
        proof=proof,
        facts=foreign.facts,
        notes=_notes(model, found, proof, hop_length),
    )
    kept = {**report.to_dict(), "source": Path(source).name}
    for key in ("destination", "config", "notes"):
        kept.pop(key)
    native.save(model, destination, metadata={"converted_from": kept}, dtype=dtype)
    return report


def _mel_contract(
    foreign: Foreign,
    found: Found,
    mel: str | dict[str, Any] | MelConfig | None,
    sample_rate: int | None,
    hop_length: int | None,
    name: str,
) -> MelConfig:
    n_mels = found.n_mels
    if mel is None and foreign.nemo_config is not None:
        contract = nemo.read_mel(foreign.nemo_config, n_mels, name).to_dict()
    elif mel is None or isinstance(mel, str):
        contract = MelConfig.preset(mel or found.mel_preset, n_mels=n_mels).to_dict()
    else:
        contract = (mel if isinstance(mel, MelConfig) else MelConfig.from_dict(mel)).to_dict()
    if contract["n_mels"] != n_mels:
        raise CheckpointError(f"{name} takes mels of {n_mels} bands, but mel has n_mels={contract['n_mels']}")
    changes = {"sample_rate": sample_rate, "hop_length": hop_length}
    return MelConfig.from_dict({**contract, **{key: value for key, value in changes.items() if value is not None}})


def _notes(model: MelFlow, found: Found, proof: Proof, hop_length: int | None) -> list[str]:
    notes = []
    if found.assumed:
        values = ", ".join(f"{key}={found.config[key]!r}" for key in found.assumed)
        notes.append(f"no weight tells {values}; if the speech comes out as noise, give them (--set KEY=VALUE)")
    if proof.round_trip_float32 > USUAL_ERROR_FLOAT32:
        notes.append(
            f"a round trip in float32 changes audio by {proof.round_trip_float32:.1e}: "
            "the weights are ill-conditioned; likelihoods and latents want float64"
        )
    if not isinstance(model, WaveGlow):
        return notes
    kernel, hop = model.upsample.conv.kernel_size[0], model.config.mel.hop_length
    if hop_length is None and kernel != 4 * hop:
        notes.append(
            f"the upsampling has {kernel} taps, which suggests a hop of {kernel // 4}; {hop} was assumed: if "
            "the speech comes out stretched or as noise, give the hop (--hop-length)"
        )
    if found.generation == 1 and not model.config.swap_halves:
        notes.append(
            "the layers have the names of the first release; if the speech comes out as noise, it may be one "
            "that swaps halves (--swap-halves)"
        )
    return notes
