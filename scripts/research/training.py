"""One training run of a LapGlow on a CPU or a GPU: steps and state."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from research.clips import Clips, find_clips, held_out_lines, validate
from research.discriminator import SpectralDiscriminator, taken_for_real, told_apart
from research.settings import Settings
from waveflow.audio.mel import MelSpectrogram
from waveflow.checkpoints import native
from waveflow.inference.project import project
from waveflow.losses import SpectralLoss, bits_per_sample, dequantize, log_likelihood
from waveflow.models import MelFlow, build
from waveflow.training.config import OptimizerConfig
from waveflow.training.gradients import is_usual
from waveflow.training.optimizer import make_optimizer, operand_dtype
from waveflow.training.passes import Passes, couple, uncouple

UNUSUAL = 8.0
"""Times the usual norm of the gradient, from which on a step is left out."""


class Run:
    """A model in training, with everything that a later call needs to go on.

    Args:
        settings: What to do.
        data: Folder with a folder of clips for each speaker.
        out: Folder of the run, for `state.pt`, `log.jsonl` and `model/`.
    """

    def __init__(self, settings: Settings, data: Path, out: Path) -> None:
        self.settings, self.out = settings, out
        out.mkdir(parents=True, exist_ok=True)
        (out / "settings.json").write_text(json.dumps(dataclasses.asdict(settings), indent=2))
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(settings.seed)
        start = native.load(settings.start) if settings.start else None
        model = build(settings.model, **settings.config) if settings.config or start is None else start
        if start is not None and model is not start:
            _take_over(model, start)
        if settings.mixing == "rotation":
            for mix, _ in list(model.flow)[2:]:
                torch.nn.init.orthogonal_(mix.weight)
        if settings.sigma is not None:
            model.config.sigma = settings.sigma
        self.model = model.to(self.device).train()
        averaging = torch.optim.swa_utils.get_ema_multi_avg_fn(settings.ema)
        self.average = torch.optim.swa_utils.AveragedModel(self.model, multi_avg_fn=averaging)
        self.mel = MelSpectrogram(model.mel_config).to(self.device)
        weights = {
            "mel_weight": 1 + settings.mel_weight,
            "loudness_weight": settings.loudness,
            "phase_weight": settings.phases,
        }
        self.spectral = SpectralLoss(self.mel, **weights).to(self.device)
        self.unweighted = SpectralLoss(self.mel).to(self.device)
        chosen = {"name": settings.optimizer, "muon_scale": settings.muon_rate, "muon_decay": settings.muon_decay}
        self.optimizer = make_optimizer(self.model, OptimizerConfig(lr=settings.rate, **chosen), fused=True)
        self.train_clips, self.held_out = find_clips(data)
        margin = model.mel_config.n_fft // 2
        self.clips = Clips(
            self.train_clips,
            model.mel_config.sample_rate,
            settings.segment,
            margin,
            settings.data_minutes,
            settings.augment,
            settings.faster,
        )
        self.passes = (couple, uncouple)
        if settings.compiled:
            self.passes = tuple(torch.compile(f, dynamic=False) for f in self.passes)
        self.discriminator = SpectralDiscriminator().to(self.device) if settings.adversarial else None
        if self.discriminator is not None:
            found = self.discriminator.parameters()
            self.judging = torch.optim.AdamW(found, settings.rate, betas=(0.8, 0.99), fused=True)
        self.step, self.seconds, self.usual_norm = 0, 0.0, 0.0
        if (out / "state.pt").exists():
            self._restore(torch.load(out / "state.pt", map_location=self.device, weights_only=True))

    def train_step(self) -> dict[str, float]:
        """One optimizer step; what it measured."""
        settings = self.settings
        rng = np.random.default_rng([settings.seed, self.step])
        wide = self.clips.batch(settings.batch, rng).to(self.device)
        margin, hop = self.clips.margin, self.model.mel_config.hop_length
        audio = wide[:, margin : wide.shape[1] - margin]
        target = self.mel(wide, padded=True)[..., : settings.segment // hop]
        passes = Passes(self.model, target, operand_dtype(self.device), self.passes)
        z, log_det = passes.forward(dequantize(audio))
        nats = log_likelihood(z, log_det).sum() / z.numel()
        found, loss = {"nats": nats}, -nats
        if settings.spectral:
            n = max(1, round(settings.batch * settings.share))
            synthesis = passes.inverse(self.model.config.sigma * torch.randn_like(z[:n]))
            found["spectral"] = self._distance(synthesis, audio[:n], target[:n])
            loss = loss + settings.spectral * found["spectral"]
            if settings.own:
                found["own"] = self._own(synthesis.detach(), nats.detach())
                loss = loss + settings.own * found["own"]
            if self.discriminator is not None:
                found["told_apart"] = self._judge(synthesis.detach(), audio[:n])
                judged = self.discriminator.requires_grad_(False)
                found["verdict"] = taken_for_real(judged(audio[:n]), judged(synthesis), settings.matching)
                loss = loss + settings.adversarial * found["verdict"]
        self.optimizer.zero_grad(set_to_none=True)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.rate_at(self.step)
        loss.backward()
        found["grad_norm"] = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        times = UNUSUAL if self.step >= max(settings.warmup, 1) else math.inf
        usual, self.usual_norm = is_usual(found["grad_norm"].item(), self.usual_norm, self.step, times)
        self.step += 1
        if usual:
            self.optimizer.step()
            self.average.update_parameters(self.model)
        return {name: value.item() for name, value in found.items()}

    def _judge(self, made: Tensor, real: Tensor) -> Tensor:
        """One step of the discriminator."""
        judge = self.discriminator.requires_grad_(True)
        loss = told_apart(judge(real), judge(made))
        self.judging.zero_grad(set_to_none=True)
        loss.backward()
        self.judging.step()
        return loss.detach()

    def _own(self, synthesis: Tensor, nats: Tensor) -> Tensor:
        """How much less likely a synthesis is than the recordings: without bound where it is off, so by a logarithm."""
        mel = self.mel(synthesis)[..., : synthesis.shape[1] // self.model.mel_config.hop_length]
        passes = Passes(self.model, mel, operand_dtype(self.device), self.passes)
        z, log_det = passes.forward(dequantize(synthesis))
        missing = nats - log_likelihood(z, log_det) / synthesis.shape[1]
        return torch.log1p(missing.clamp_min(0)).mean()

    def _distance(self, synthesis: Tensor, audio: Tensor, target: Tensor) -> Tensor:
        settings = self.settings
        distance = self.spectral(synthesis, audio)
        if settings.projected:
            moved = project(synthesis, target, self.mel)
            distance = distance + settings.projected * self.unweighted(moved, audio)
        return distance

    def train(self, until: int | None = None, validate_every: int = 0, tell: Callable[[str], None] = print) -> None:
        """Train up to a step, the last unless given; state is kept every few minutes."""
        until, last_kept = until or self.settings.steps, self.seconds
        while self.step < until:
            start = time.process_time()
            found = self.train_step()
            self.seconds += time.process_time() - start
            if self.step % 50 == 0:
                self.report({k: round(v, 4) for k, v in found.items()}, tell)
            if self.seconds - last_kept > 180 or self.step == until:
                self._keep()
                last_kept = self.seconds
            if validate_every and self.step % validate_every == 0 and self.step < until:
                self.report(self.validate(), tell)
        found = self.validate()
        self.report(found, tell)
        self.save(found)

    def validate(self) -> dict[str, float]:
        """Figures of the averaged weights on held-out clips."""
        return validate(self.average.module.eval(), self.mel, self.held_out)

    def report(self, row: dict[str, float], tell: Callable[[str], None]) -> None:
        """Append to `log.jsonl`, with the step and the minutes of this process's work."""
        line = json.dumps({"step": self.step, "minutes": round(self.seconds / 60, 2), **row})
        tell(line)
        with open(self.out / "log.jsonl", "a") as log:
            log.write(line + "\n")

    def save(self, found: dict[str, float]) -> None:
        """Write the averaged weights to `model/`, with how they came about."""
        settings, before = self.settings, {}
        if settings.start:
            before = native.read_facts(settings.start)["metadata"]
        native.save(
            self.average.module,
            self.out / "model",
            dtype=torch.float16,
            metadata={
                "licence": "CC0 1.0",
                "data": {
                    "LJSpeech 1.1": f"public domain, {len(self.train_clips.get('ljspeech', []))} clips",
                    "Rhasspy kathleen": f"CC0 1.0, {len(self.train_clips.get('kathleen', []))} clips",
                },
                "held_out": held_out_lines(),
                "steps": self.step + before.get("steps", 0),
                "hours": round(self.seconds / 3600 + before.get("hours", 0), 2),
                "device": self.device.type,
                "batch": f"{settings.batch} x {settings.segment} samples",
                "objective": f"likelihood + {settings.spectral} x spectral loss through the inverse"
                + (f" with its mel term {1 + settings.mel_weight:g} times" if settings.mel_weight else "")
                + (f" and {settings.loudness:g} times a distance in loudness" if settings.loudness else "")
                + (f" and {settings.phases:g} times one in how phases advance" if settings.phases else "")
                + (f" + {settings.own} x how much less likely syntheses are than recordings" if settings.own else "")
                + (f" + {settings.adversarial} x adversarial loss" if settings.adversarial else ""),
                "optimizer": f"{settings.optimizer}, rate {settings.rate}",
                "validation": found,
                "bits": round(bits_per_sample(next(iter(found.values()))), 4),
            },
        )

    def _keep(self) -> None:
        path = self.out / "state.pt"
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "usual_norm": self.usual_norm,
        }
        if self.discriminator is not None:
            state["discriminator"] = self.discriminator.state_dict()
            state["judging"] = self.judging.state_dict()
        torch.save(state, path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.discriminator is not None:
            self.discriminator.load_state_dict(state["discriminator"])
            self.judging.load_state_dict(state["judging"])
        self.step, self.seconds, self.usual_norm = state["step"], state["seconds"], state["usual_norm"]


def _take_over(model: MelFlow, start: MelFlow) -> None:
    """Let a model begin with the weights of a shorter one; what it has besides stays fresh."""
    before, now = start.config, model.config
    if dataclasses.replace(before, n_flows=now.n_flows, sigma=now.sigma) != now or now.n_flows < before.n_flows:
        raise SystemExit(f"start has {before}, config {now}: they may differ in sigma and a larger n_flows only")
    model.load_state_dict(start.state_dict(), strict=False)
