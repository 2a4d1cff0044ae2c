"""Write the card of a bundled model from its config and from what `waveflow evaluate` and this machine measure.

    python scripts/write_model_card.py waveflow/pretrained/lapglow --data ../speech --music runs/music

Every figure of the card is measured by this script, on clips of `scripts/heldout.txt` and on what
`scripts/music_clips.py` renders.
"""

from __future__ import annotations

import argparse
import json
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

import torch

import waveflow
from waveflow.audio import io
from waveflow.audio.mel import MelSpectrogram
from waveflow.checkpoints.native import read_facts
from waveflow.inference import Vocoder
from waveflow.losses import bits_per_sample
from waveflow.metrics import Clip, evaluate_clips
from waveflow.metrics.evaluate import evaluation_mel
from waveflow.metrics.griffin_lim import griffin_lim
from waveflow.models.cost import cost

HELD_OUT = Path(__file__).with_name("heldout.txt")
GRIFFIN_LIM = "Griffin-Lim, 60 iterations"
FIGURES = {
    "nats": "nats/sample",
    "bits": "bits/sample",
    "synthesis_bits": "bits/sample of the synthesis",
    "pesq": "PESQ",
    "stoi": "STOI",
    "log_mel_l1": "log-mel L1",
    "mr_stft": "MR-STFT",
    "mcd": "MCD, dB",
    "f0_rmse_cents": "F0 RMSE, cents",
    "vuv_f1": "V/UV F1",
    "periodicity_rmse": "periodicity RMSE",
}


def held_out_clips(data: Path, per_speaker: int) -> dict[str, list[Path]]:
    """Held-out clips by corpus: the listed ones of known speakers, the first ones of unknown speakers."""
    found: dict[str, list[Path]] = {}
    for line in HELD_OUT.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        path = data / line
        clips = sorted(path.rglob("*.flac"))[:per_speaker] if path.is_dir() else [path]
        found.setdefault(Path(line).parts[0], []).extend(clip for clip in clips if clip.is_file())
    return {corpus: clips for corpus, clips in found.items() if clips}


def measure(
    vocoder: Vocoder, clips: list[Path], *, rounds: Sequence[int] = (0, 2, 16), griffin_lim_too: bool = True
) -> dict[str, dict[str, float]]:
    """Mean figures of the model after so many rounds of projection, and of Griffin-Lim on the same mels.

    Raises:
        ValueError: A clip cannot be compared; means over the others would pass for means over all.
    """
    systems: dict[str, list[Clip]] = {}
    transform = MelSpectrogram(evaluation_mel(vocoder.sample_rate))
    for number, path in enumerate(clips):
        audio, _ = io.read(path, sample_rate=vocoder.sample_rate)
        mel = vocoder.mel(audio)
        nats = vocoder.nats_per_sample(audio).item()
        known = {"nats": nats, "bits": bits_per_sample(nats)}
        for project in rounds:
            system = f"model, project {project}" if project else "model"
            synthesis = vocoder(mel, seed=number, project=project)[: len(audio)]
            theirs = {**known, "synthesis_bits": vocoder.bits_per_sample(synthesis).item()}
            systems.setdefault(system, []).append(Clip(audio, synthesis, vocoder.sample_rate, theirs))
        if griffin_lim_too:
            classic = griffin_lim(transform(audio), transform.config)[: len(audio)]
            systems.setdefault(GRIFFIN_LIM, []).append(Clip(audio, classic, vocoder.sample_rate))
    found = {}
    for system, pairs in systems.items():
        evaluation = evaluate_clips({str(path): lambda pair=pair: pair for path, pair in zip(clips, pairs)})
        if evaluation.failures:
            raise ValueError("; ".join(f"{system}, {clip}: {why}" for clip, why in evaluation.failures.items()))
        summary = evaluation.summary()
        found[system] = {name: summary[name].mean for name in summary}
    return found


def table(found: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """The figures as Markdown rows, a corpus and system each."""
    names = [name for name in FIGURES if any(name in row for systems in found.values() for row in systems.values())]
    rows = ["| held-out clips | system | " + " | ".join(FIGURES[name] for name in names) + " |"]
    rows.append("| --- | --- | " + " | ".join("---:" for _ in names) + " |")
    for corpus, systems in found.items():
        for system, figures in systems.items():
            cells = (f"{figures[name]:.3f}" if name in figures else "" for name in names)
            rows.append(f"| {corpus} | {system} | " + " | ".join(cells) + " |")
    return rows


def speed(vocoder: Vocoder, project: int = 0, seconds: float = 5.0, runs: int = 15) -> float:
    """Median x real time of one utterance, with so many rounds of projection."""
    frames = round(seconds * vocoder.sample_rate / vocoder.config.mel.hop_length)
    mel = torch.randn(vocoder.config.mel.n_mels, frames) - 5
    taken = []
    for _ in range(runs + 3):
        start = time.perf_counter()
        audio = vocoder(mel, seed=0, project=project)
        taken.append(time.perf_counter() - start)
    return len(audio) / vocoder.sample_rate / sorted(taken[3:])[runs // 2]


def prose(text: str) -> str:
    """A paragraph, or an item of a list, in lines of at most 120 characters."""
    return textwrap.fill(text, 120, subsequent_indent="  " if text.startswith("- ") else "", break_on_hyphens=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--per-speaker", type=int, default=8, help="clips of each speaker that was not trained on")
    parser.add_argument("--music", type=Path, help="folder of recordings that are no speech")
    args = parser.parse_args()
    vocoder = waveflow.load(args.checkpoint, device="cpu")
    facts = read_facts(args.checkpoint)
    trained, size = facts["metadata"], cost(vocoder.model)
    groups = held_out_clips(args.data, args.per_speaker)
    found = {f"{corpus} ({len(clips)})": measure(vocoder, clips) for corpus, clips in groups.items()}
    if args.music:
        clips = sorted(args.music.glob("*.flac"))
        for system, figures in measure(vocoder, clips).items():
            of_speech = ("pesq", "stoi", "f0_rmse_cents", "vuv_f1", "periodicity_rmse")
            kept = {name: value for name, value in figures.items() if name not in of_speech}
            found.setdefault(f"music ({len(clips)})", {})[system] = kept
    weights = (args.checkpoint / "model.safetensors").stat().st_size / 2**20
    card = [
        f"# {args.checkpoint.name}",
        "",
        prose(
            f"A LapGlow of {size['parameters'] / 1e6:.1f} M parameters, {size['gmac_per_second']:.2f} GMAC per second "
            f"of audio, {weights:.1f} MB in half precision, for mels of the NVIDIA convention (22 050 Hz, 80 bands, "
            "hop 256)."
        ),
        "",
        prose("- Data: " + "; ".join(f"{name} ({what})" for name, what in trained["data"].items()) + "."),
        prose(
            f"- Training: {trained['steps']} steps of {trained['batch']}, {trained['objective']}, "
            f"{trained['hours']} hours on {trained['device']}, by `scripts/train_pretrained.py`."
        ),
        f"- Licence of the weights: {trained['licence']}.",
        "",
        prose(
            "Means over clips that were held out (`scripts/heldout.txt`); flemishguy, nathalie and kerstin are "
            "speakers and languages that the model never heard, music is chorales by `scripts/music_clips.py`. "
            "Definitions: `waveflow.metrics`."
        ),
        "",
        *table(found),
        "",
        prose(
            f"Speed where this card was written, {torch.get_num_threads()} CPU threads, float32, 5 s of audio: "
            f"{speed(vocoder):.0f} x real time, {speed(vocoder, 16):.0f} x with 16 rounds of projection."
        ),
        "",
        "Intended for speech at speaking level. Singing and whispering were not tried.",
    ]
    (args.checkpoint / "README.md").write_text("\n".join(card) + "\n")
    print("\n".join(card))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
