"""Render chorales of Bach as recordings that are no speech, to measure the bundled models on.

    pip install music21 && apt-get install fluidsynth fluid-soundfont-gm
    python scripts/music_clips.py runs/music
    waveflow evaluate runs/music --griffin-lim

The notes are those of music21's corpus (in the public domain), the sounds those of the FluidR3 sound font (MIT).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

import soundfile

SOUND_FONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
SECONDS = 8.0
CHORALES = {"bwv1.6": 0, "bwv10.7": 48, "bwv101.7": 52, "bwv102.7": 19}
"""Which, and the General MIDI programme that plays it: piano, strings, choir, organ."""


def render(name: str, program: int, sound_font: Path, path: Path) -> None:
    """Write the beginning of a chorale as 16-bit audio at 22 050 Hz, mono."""
    from music21 import corpus, instrument

    score = corpus.parse(f"bach/{name}")
    for part in score.parts:
        for found in list(part.recurse().getElementsByClass(instrument.Instrument)):
            found.activeSite.remove(found)
        played_by = instrument.Instrument()
        played_by.midiProgram = program
        part.insert(0, played_by)
    with tempfile.TemporaryDirectory() as folder:
        notes, sound = Path(folder, "notes.mid"), Path(folder, "sound.wav")
        score.write("midi", notes)
        command = ["fluidsynth", "-ni", "-q", "-r", "22050", "-F", sound, sound_font, notes]
        subprocess.run(list(map(str, command)), check=True)
        audio, rate = soundfile.read(sound, always_2d=True)
    audio = audio.mean(1)[: round(SECONDS * rate)]
    soundfile.write(path, 0.5 * audio / abs(audio).max(), rate, subtype="PCM_16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the recordings")
    parser.add_argument("--sound-font", type=Path, default=SOUND_FONT)
    args = parser.parse_args()
    if shutil.which("fluidsynth") is None or not args.sound_font.is_file():
        parser.error(f"needs the program fluidsynth and the sound font {args.sound_font}; see the top of this script")
    args.out.mkdir(parents=True, exist_ok=True)
    for name, program in CHORALES.items():
        render(name, program, args.sound_font, args.out / f"{name}.flac")
        print(args.out / f"{name}.flac")


if __name__ == "__main__":
    main()
