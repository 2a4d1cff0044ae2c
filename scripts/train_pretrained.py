"""Train the bundled LapGlow on LJSpeech and kathleen, by likelihood and by spectral distance through the inverse.

    python scripts/train_pretrained.py --data ../speech --out runs/lapglow --minutes 100 --cooldown 20

The learning rate warms up, stays, and falls to zero in the last `--cooldown` minutes, so that a run may be stopped at
any time and finished by a later call with `--minutes` little longer than `--cooldown`. State is written every few
minutes and found again at the next start.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from waveflow.audio.mel import MelSpectrogram
from waveflow.checkpoints import native
from waveflow.losses import SpectralLoss, bits_per_sample, dequantize, nats_per_sample
from waveflow.models import MelFlow, build, config_to_dict

HELD_OUT = Path(__file__).with_name("heldout.txt")


class Clips:
    """Recordings of several speakers in memory, as 16-bit integers, sampled evenly over speakers.

    Args:
        files: For each speaker, paths of clips at the model's rate.
        segment: Samples of a training item.
        margin: Real samples kept on each side of it, so that its mel is that of the whole recording.
    """

    def __init__(self, files: dict[str, list[Path]], sample_rate: int, segment: int, margin: int) -> None:
        self.segment, self.margin = segment, margin
        self.speakers = []
        for paths in files.values():
            clips = []
            for path in paths:
                audio, rate = soundfile.read(path, dtype="int16")
                if rate != sample_rate:
                    raise SystemExit(f"{path} is at {rate} Hz, expected {sample_rate}; resample the corpus first")
                clips.append(np.pad(audio, margin))
            self.speakers.append([c for c in clips if len(c) >= segment + 2 * margin])
        rms = [np.sqrt(np.mean([np.mean((c / 32768.0) ** 2) for c in clips])) for clips in self.speakers]
        self.gains = [rms[0] / r for r in rms]

    def batch(self, size: int, rng: np.random.Generator) -> Tensor:
        """Draw `(size, segment + 2 margin)` float audio; half of it at another level than recorded."""
        rows = []
        for i in range(size):
            speaker = (i + int(rng.integers(len(self.speakers)))) % len(self.speakers)
            clips = self.speakers[speaker]
            lengths = np.array([len(c) for c in clips], dtype=np.float64)
            clip = clips[rng.choice(len(clips), p=lengths / lengths.sum())]
            start = int(rng.integers(len(clip) - self.segment - 2 * self.margin + 1))
            audio = clip[start : start + self.segment + 2 * self.margin].astype(np.float32) / 32768
            gain = self.gains[speaker]
            if rng.random() < 0.5:
                gain *= 10 ** (rng.uniform(-12, 6) / 20)
            gain = min(gain, 0.99 / max(np.abs(audio).max(), 1e-4))
            rows.append(audio * np.float32(gain * rng.choice([-1, 1])))
        return torch.from_numpy(np.stack(rows))


def find_clips(data: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """Training clips by speaker, and the held-out ones."""
    held_out = [line for line in HELD_OUT.read_text().splitlines() if line and not line.startswith("#")]
    train = {
        speaker: [p for p in sorted((data / speaker).rglob("*.flac")) if str(p.relative_to(data)) not in held_out]
        for speaker in ("ljspeech", "kathleen")
    }
    validation = [data / line for line in held_out if line.startswith(tuple(train)) and (data / line).is_file()]
    if not validation:
        raise SystemExit(f"no clip of {HELD_OUT} is in {data}; give the folder with ljspeech/ and kathleen/")
    return train, validation


@torch.no_grad()
def validate(model: MelFlow, mel: MelSpectrogram, paths: list[Path]) -> dict[str, float]:
    """Nats per sample, and log-mel L1 and PESQ of the resynthesis, by corpus, on held-out clips."""
    from pesq import pesq
    from torchaudio.functional import resample

    found: dict[str, list[tuple[float, float, float]]] = {}
    generator = torch.Generator().manual_seed(0)
    for path in paths:
        audio = torch.from_numpy(soundfile.read(path, dtype="float32")[0])[None]
        audio = audio[:, : audio.shape[1] // model.n_group * model.n_group]
        target = mel(audio)
        nats = nats_per_sample(*model(dequantize(audio, generator), target)).item()
        latent = model.config.sigma * torch.randn(audio.shape, generator=generator)
        synthesis = model.inverse(latent, target).clamp(-1, 1)
        distance = (mel(synthesis) - target).abs().mean().item()
        pair = [resample(x[0], model.mel_config.sample_rate, 16000).numpy() for x in (audio, synthesis)]
        found.setdefault(path.parts[-3], []).append((nats, distance, pesq(16000, *pair, "wb")))
    return {
        f"{corpus}/{name}": float(np.mean(column))
        for corpus, rows in found.items()
        for name, column in zip(("nats", "log_mel_l1", "pesq"), zip(*rows))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with ljspeech/ and kathleen/")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--model", default="lapglow-base")
    parser.add_argument("--minutes", type=float, required=True, help="length of this call")
    parser.add_argument("--cooldown", type=float, default=0, help="minutes at the end in which the rate falls to zero")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--segment", type=int, default=16384, help="samples")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--warmup", type=int, default=200, help="steps")
    parser.add_argument("--spectral", type=float, default=0.3, help="weight of the spectral loss")
    parser.add_argument(
        "--spectral-share", type=float, default=0.5, help="share of the batch that is synthesised for it"
    )
    parser.add_argument("--ema", type=float, default=0.998)
    parser.add_argument("--validate-every", type=float, default=10, help="minutes")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(args.seed)
    model = build(args.model).to(device)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(args.ema)
    )
    mel = MelSpectrogram(model.mel_config).to(device)
    spectral = SpectralLoss(mel).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        args.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=1e-2,
        fused=True,
    )
    train, held_out = find_clips(args.data)
    clips = Clips(train, model.mel_config.sample_rate, args.segment, model.mel_config.n_fft // 2)
    n_synthesised = max(1, round(args.batch * args.spectral_share))
    n_frames = args.segment // model.mel_config.hop_length

    state_path, step, seconds = args.out / "state.pt", 0, 0.0
    if state_path.exists():
        state = torch.load(state_path, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step, seconds = state["step"], state["seconds"]

    def save() -> None:
        state = {
            "model": model.state_dict(),
            "average": average.state_dict(),
            "optimizer": optimizer.state_dict(),
        }
        torch.save({**state, "step": step, "seconds": seconds}, state_path.with_suffix(".tmp"))
        os.replace(state_path.with_suffix(".tmp"), state_path)

    def report(**row: float) -> None:
        line = json.dumps({"step": step, "minutes": round(seconds / 60, 1), **row})
        print(line, flush=True)
        with open(args.out / "log.jsonl", "a") as log:
            log.write(line + "\n")

    (args.out / "config.json").write_text(json.dumps(config_to_dict(model.config), indent=2))
    start = last_validation = last_save = time.monotonic()
    while (elapsed := time.monotonic() - start) < args.minutes * 60:
        step_start = time.monotonic()
        falling = (args.minutes * 60 - elapsed) / (args.cooldown * 60) if args.cooldown else 1.0
        rate = args.learning_rate * min(1.0, (step + 1) / args.warmup, falling)
        for group in optimizer.param_groups:
            group["lr"] = rate
        rng = np.random.default_rng([args.seed, step])
        wide = clips.batch(args.batch, rng).to(device)
        audio = wide[:, clips.margin : -clips.margin]
        target = mel(wide, padded=True)[..., :n_frames]
        with torch.autocast(device.type, torch.bfloat16):
            z, log_det = model(dequantize(audio), target)
            nll = -nats_per_sample(z, log_det)
            audio, target = audio[:n_synthesised], target[:n_synthesised]
            synthesis = model.inverse(model.config.sigma * torch.randn_like(audio), target)
        distance = spectral(synthesis.float(), audio)
        optimizer.zero_grad(set_to_none=True)
        (nll + args.spectral * distance).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        if torch.isfinite(norm):
            optimizer.step()
            average.update_parameters(model)
        else:
            report(skipped=1)
        step += 1
        seconds += time.monotonic() - step_start
        if step % 50 == 0:
            report(
                nats=round(-nll.item(), 4),
                spectral=round(distance.item(), 4),
                grad_norm=round(norm.item(), 3),
                lr=rate,
            )
        now = time.monotonic()
        if now - last_save > 180:
            save()
            last_save = now
        if now - last_validation > args.validate_every * 60:
            report(**validate(average.module.eval(), mel, held_out))
            last_validation = now
    save()
    found = validate(average.module.eval(), mel, held_out)
    report(**found, bits=bits_per_sample(found["ljspeech/nats"]))
    native.save(
        average.module,
        args.out / "model",
        dtype=torch.float16,
        metadata={
            "data": {
                "LJSpeech 1.1": f"public domain, {len(train['ljspeech'])} clips",
                "Rhasspy kathleen": f"CC0 1.0, {len(train['kathleen'])} clips",
            },
            "held_out": [line for line in HELD_OUT.read_text().splitlines() if not line.startswith("#")],
            "steps": step,
            "hours": round(seconds / 3600, 2),
            "device": device.type,
            "batch": f"{args.batch} x {args.segment} samples",
            "objective": f"likelihood + {args.spectral} x spectral loss through the inverse",
            "validation": {name: round(value, 4) for name, value in found.items()},
        },
    )


if __name__ == "__main__":
    main()
