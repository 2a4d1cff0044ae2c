"""What a mel spectrogram means: every setting that changes its numbers, and the conventions in use."""

import math
from dataclasses import asdict, dataclass, fields
from numbers import Real
from typing import Any

from waveflow.names import unknown_name
from waveflow.settings import is_number


@dataclass
class MelConfig:
    """The mel contract: two mels are interchangeable exactly when their configs are equal.

        X = STFT(audio),   m = fb @ (|X|^2 + epsilon)^(power / 2),   mel = (log(guard(m)) - mean) / std

    with `guard(m) = max(m, clip)` or `m + clip`, and `log` natural, base 10 or 20 log10. The defaults are
    NVIDIA's convention (Tacotron 2, WaveGlow).

    Attributes:
        sample_rate: Hz, 8000 to 48000 in practice.
        n_fft: FFT length, samples.
        win_length: Hann window length, samples, at most n_fft; a shorter window is centred in the FFT frame.
        hop_length: Samples between frames, at most win_length.
        n_mels: Number of bands.
        f_min: Lower edge of the lowest band, Hz.
        f_max: Upper edge of the highest band, Hz; None is half the sample rate.
        mel_scale: "slaney" (librosa's default) or "htk".
        norm: "slaney" scales each band to unit area; None leaves peaks at 1.
        power: 1 for magnitudes, 2 for power.
        epsilon: Added to |X|^2 before the root (HiFi-GAN: 1e-9).
        padding: "center": frame i is centred on sample `i * hop_length`; `1 + T // hop_length` frames.
            "same": frame i is centred on the middle of samples `i * hop_length` to `(i + 1) * hop_length`;
            `T // hop_length` frames.
        pad_mode: What lies beyond the ends: "reflect" or "constant" (zeros).
        periodic: Periodic Hann window, as in every convention here but NeMo's.
        log: "ln", "log10" or "db" (20 log10, whatever the power).
        clip: Smallest value given to the log.
        clip_style: "clamp" (max with clip) or "add".
        mean: Subtracted after the log: one value, or one a band; None is 0.
        std: Divided by after that: one value, or one a band; None is 1.
        ceiling: Largest final value (FloWaveNet: 1); None for no limit.
        pad_to: Frames are padded at the end to a multiple of this (NeMo: 16).
        pad_value: Value of that padding; None is the value of silence.

    Raises:
        ValueError: A setting is out of its range or contradicts another.
    """

    sample_rate: int = 22050
    n_fft: int = 1024
    win_length: int = 1024
    hop_length: int = 256
    n_mels: int = 80
    f_min: float = 0.0
    f_max: float | None = 8000.0
    mel_scale: str = "slaney"
    norm: str | None = "slaney"
    power: float = 1.0
    epsilon: float = 0.0
    padding: str = "center"
    pad_mode: str = "reflect"
    periodic: bool = True
    log: str = "ln"
    clip: float = 1e-5
    clip_style: str = "clamp"
    mean: list[float] | None = None
    std: list[float] | None = None
    ceiling: float | None = None
    pad_to: int = 1
    pad_value: float | None = None

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Check every setting, and write a scalar mean or std as a list of one.

        Raises:
            ValueError: A setting is out of its range or contradicts another.
        """
        for name in ("sample_rate", "n_fft", "win_length", "hop_length", "n_mels", "pad_to"):
            value = getattr(self, name)
            if not is_number(value) or not float(value).is_integer() or value < 1:
                raise ValueError(f"{name} is {value!r}, expected a whole number of at least 1")
            setattr(self, name, int(value))
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected one of {choices}")
        if self.win_length > self.n_fft:
            raise ValueError(
                f"win_length {self.win_length} exceeds n_fft {self.n_fft}; raise n_fft or shorten the window"
            )
        if self.hop_length > self.win_length:
            raise ValueError(
                f"hop_length {self.hop_length} exceeds win_length {self.win_length}, so no frame would see "
                "the samples in between; shorten the hop or lengthen the window"
            )
        for name in ("f_min", "f_max", "power", "epsilon", "clip", "ceiling", "pad_value"):
            value, may_miss = getattr(self, name), name in ("f_max", "ceiling", "pad_value")
            if not is_number(value) and not (value is None and may_miss):
                raise ValueError(f"{name} is {value!r}, expected a finite number{' or None' if may_miss else ''}")
        nyquist = self.sample_rate / 2
        top = nyquist if self.f_max is None else self.f_max
        if not 0 <= self.f_min < top <= nyquist:
            raise ValueError(
                f"f_min {self.f_min} and f_max {self.f_max} must satisfy 0 <= f_min < f_max <= {nyquist:g}"
                f" Hz, half of sample_rate {self.sample_rate}; f_max None means half of the rate"
            )
        if self.power <= 0 or self.epsilon < 0 or self.clip <= 0:
            raise ValueError(
                f"power {self.power} and clip {self.clip} must be positive, epsilon {self.epsilon} not negative"
            )
        for name in ("mean", "std"):
            setattr(self, name, self._statistics(name))
        if self.std is not None and min(self.std) <= 0:
            raise ValueError(f"std has the value {min(self.std)}; every value must be positive")

    def _statistics(self, name: str) -> list[float] | None:
        value: Any = getattr(self, name)
        if value is None:
            return None
        values = [value] if isinstance(value, (Real, str)) else [*value]
        if len(values) not in (1, self.n_mels) or not all(map(is_number, values)):
            raise ValueError(
                f"{name} has {len(values)} values, expected one or n_mels={self.n_mels}, all of them finite"
            )
        return [float(v) for v in values]

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "MelConfig":
        """A named convention, with changes on top.

        Args:
            name: nvidia (also waveglow, tacotron2, squeezewave), hifigan (also matcha), bigvgan_22khz,
                bigvgan_24khz, bigvgan_44khz, vocos, parallelwavegan (also espnet), parallelwavegan_24khz,
                flowavenet, nemo. BigVGAN's checkpoints at 22 kHz have bands up to 8 kHz, HiFi-GAN's mel, but for
                bigvgan_v2_22khz_80band_256x, which bigvgan_22khz is; bigvgan_v2_44khz_128band_256x has
                `hop_length=256`. ParallelWaveGAN normalises by its corpus: give `mean` and `std`. FloWaveNet
                scales each recording to a peak of 0.999 first; that is the caller's part.
            changes: Settings that differ, e.g. `hop_length=300`.

        Raises:
            ValueError: No preset or setting of that name.
        """
        if name not in _PRESETS:
            raise ValueError(unknown_name("mel preset", name, _PRESETS))
        return cls.from_dict({**_PRESETS[name], **changes})

    def to_dict(self) -> dict[str, Any]:
        """All settings, ready for JSON or YAML."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> "MelConfig":
        """The inverse of `to_dict`; settings left out take their defaults.

        Raises:
            ValueError: A key is unknown, or a value out of its range.
        """
        valid = {field.name for field in fields(cls)}
        for key in settings:
            if key not in valid:
                raise ValueError(unknown_name("mel setting", str(key), valid))
        return cls(**settings)

    @property
    def margins(self) -> tuple[int, int]:
        """Samples that the outermost frames see before and after the audio, left and right."""
        if self.padding == "center":
            return self.n_fft // 2, self.n_fft // 2
        total = self.n_fft - self.hop_length
        return total // 2, total - total // 2

    def frames(self, n_samples: int) -> int:
        """Number of frames of `n_samples` samples of audio, `pad_to` included."""
        if n_samples < 1:
            return 0
        found = 1 + (n_samples + sum(self.margins) - self.n_fft) // self.hop_length
        return math.ceil(found / self.pad_to) * self.pad_to

    def samples(self, n_frames: int) -> int:
        """Number of samples that a vocoder makes of `n_frames` frames."""
        return n_frames * self.hop_length

    @property
    def floor(self) -> float:
        """The lowest mel value, that of digital silence, with which mels are padded.

        With statistics for each band, silence differs from band to band, and this is the lowest of them;
        `MelSpectrogram.silence` has them all.
        """
        return min(self.normalized(self.log_of(self.clip)))

    def log_of(self, value: float) -> float:
        """The logarithm in the unit of `log`."""
        return math.log(value) * LOG_SCALE[self.log]

    def normalized(self, value: float) -> list[float]:
        """`(value - mean) / std`, as many values as there are statistics."""
        mean, std = self.mean or [0.0], self.std or [1.0]
        size = max(len(mean), len(std))
        pairs = zip(mean * (size // len(mean)), std * (size // len(std)), strict=True)
        scaled = [(value - m) / s for m, s in pairs]
        return scaled if self.ceiling is None else [min(v, self.ceiling) for v in scaled]


LOG_SCALE = {"ln": 1.0, "log10": 1 / math.log(10), "db": 20 / math.log(10)}

_CHOICES: dict[str, tuple[str | None, ...]] = {
    "mel_scale": ("slaney", "htk"),
    "norm": ("slaney", None),
    "padding": ("center", "same"),
    "pad_mode": ("reflect", "constant"),
    "log": ("ln", "log10", "db"),
    "clip_style": ("clamp", "add"),
}

_HIFIGAN: dict[str, Any] = {"padding": "same", "epsilon": 1e-9}
_BIGVGAN_44KHZ = {"sample_rate": 44100, "n_fft": 2048, "win_length": 2048, "hop_length": 512, "n_mels": 128}
_PARALLELWAVEGAN: dict[str, Any] = {"f_min": 80.0, "f_max": 7600.0, "log": "log10", "clip": 1e-10}
_PRESETS: dict[str, dict[str, Any]] = {
    "nvidia": {},
    "waveglow": {},
    "tacotron2": {},
    "squeezewave": {},
    "hifigan": _HIFIGAN,
    "matcha": _HIFIGAN,
    "bigvgan_22khz": {**_HIFIGAN, "f_max": None},
    "bigvgan_24khz": {**_HIFIGAN, "f_max": None, "sample_rate": 24000, "n_mels": 100},
    "bigvgan_44khz": {**_HIFIGAN, "f_max": None, **_BIGVGAN_44KHZ},
    "vocos": {
        "sample_rate": 24000,
        "n_mels": 100,
        "f_max": None,
        "mel_scale": "htk",
        "norm": None,
        "clip": 1e-7,
    },
    "parallelwavegan": _PARALLELWAVEGAN,
    "espnet": _PARALLELWAVEGAN,
    "parallelwavegan_24khz": {
        **_PARALLELWAVEGAN,
        "sample_rate": 24000,
        "n_fft": 2048,
        "win_length": 1200,
        "hop_length": 300,
    },
    # dB above 1e-4 of power, less 20, scaled from -100..0 to 0..1: together (dB + 80) / 100
    "flowavenet": {
        "f_min": 125.0,
        "f_max": 7600.0,
        "power": 2.0,
        "pad_mode": "constant",
        "log": "db",
        "clip": 1e-4,
        "mean": -80.0,
        "std": 100.0,
        "ceiling": 1.0,
    },
    "nemo": {"periodic": False, "pad_to": 16, "pad_value": -11.52},
}
