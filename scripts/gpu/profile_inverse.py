"""Say where the time of one inverse goes, kernel by kernel.

    python scripts/gpu/profile_inverse.py --model waveglow-256 --size 8x10

Writes benchmarks/profile-<model>-<device>.json: for each kernel its launches, its microseconds and its share.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import setting
import torch
from torch.profiler import ProfilerActivity, profile

from waveflow.inference.noise import batch_normal
from waveflow.inference.packed import pack
from waveflow.inference.planned import PlannedInverse
from waveflow.models import MelContext


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--model", default="waveglow-256")
    parser.add_argument("--backend", default="triton")
    parser.add_argument("--dtype", choices=setting.DTYPES, default="bfloat16")
    parser.add_argument("--size", default="8x10", help="batch x seconds")
    parser.add_argument("--output", type=Path, default=setting.RESULTS)
    options = parser.parse_args()
    batch, seconds = map(float, options.size.split("x"))
    model = setting.model(options.model).to(options.device)
    config = model.mel_config
    n_frames = round(seconds * config.sample_rate / config.hop_length)
    inverse = PlannedInverse(pack(model, setting.DTYPES[options.dtype]), options.backend, graphs=False)
    context = MelContext(setting.speech(int(batch), n_frames, options.device))
    latent = batch_normal([*range(int(batch))], 0, n_frames * config.hop_length, device=options.device)
    inverse(latent, context)
    activity = ProfilerActivity.CUDA if options.device.type == "cuda" else ProfilerActivity.CPU
    with profile(activities=[ProfilerActivity.CPU, activity]) as profiler:
        inverse(latent, context)
    on_gpu = options.device.type == "cuda"
    rows = []
    for event in profiler.key_averages():
        took = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        if took:
            rows.append({"name": event.key, "launches": event.count, "microseconds": took})
    total = sum(row["microseconds"] for row in rows)
    rows.sort(key=lambda row: -row["microseconds"])
    for row in rows[:12]:
        row["share"] = row["microseconds"] / total
        print(f"{row['share']:6.1%} {row['launches']:5d} {row['microseconds']:10.0f} us  {row['name'][:90]}")
    facts = {"model": options.model, "size": options.size, "dtype": options.dtype, "backend": options.backend}
    results = {**facts, "kernels": rows}
    print(setting.write(f"profile-{options.model}", options.device, results, options.output))


if __name__ == "__main__":
    main()
