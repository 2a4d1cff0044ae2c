import pickle

import pytest
import torch
from small_models import small

import waveflow
from waveflow.checkpoints import native
from waveflow.inference import Stream, Vocoder


def bfloat16():
    return torch.autocast("cpu", dtype=torch.bfloat16)


USES = {
    "call": lambda vocoder, audio, mel: vocoder(mel, seed=1),
    "denoise": lambda vocoder, audio, mel: vocoder(mel, seed=1, denoise=0.05),
    "project": lambda vocoder, audio, mel: vocoder(mel, seed=1, project=1),
    "synthesize": lambda vocoder, audio, mel: vocoder.synthesize(mel[None], 0, None, None, [1]),
    "stream": lambda vocoder, audio, mel: torch.cat(list(vocoder.stream(mel.split(7, dim=1), seed=1, block=5))),
    "look_ahead": lambda vocoder, audio, mel: Stream(vocoder, look_ahead=1).push(mel),
    "encode": lambda vocoder, audio, mel: vocoder.encode(audio),
    "decode": lambda vocoder, audio, mel: vocoder.decode(audio, mel),
    "log_prob": lambda vocoder, audio, mel: vocoder.log_prob(audio),
    "nats": lambda vocoder, audio, mel: vocoder.nats_per_sample(audio, mel),
    "bits": lambda vocoder, audio, mel: vocoder.bits_per_sample(audio),
    "mel": lambda vocoder, audio, mel: vocoder.mel(audio),
}


@pytest.mark.parametrize("use", USES)
def test_autocast_around_a_vocoder_changes_nothing(vocoder, audio, use):
    audio = audio[: 256 * 20]
    mel = vocoder.mel(audio)
    again = Vocoder(vocoder.model, backend=vocoder.backend)
    expected = USES[use](vocoder, audio, mel)
    with bfloat16():
        found = USES[use](again, audio, mel)
    assert torch.equal(found, expected)
    assert found.dtype == torch.float32


def under(set_default, value, before, call):
    set_default(value)
    try:
        return call()
    finally:
        set_default(before)


def test_other_defaults_of_pytorch_change_nothing(vocoder, audio, tmp_path):
    audio, backend = audio[: 256 * 20], vocoder.backend
    mel = vocoder.mel(audio)
    native.save(vocoder.model, tmp_path / "model")
    expected = [call(vocoder, audio, mel) for call in USES.values()]

    def use(made):
        return [call(made, audio, mel) for call in USES.values()]

    def load_and_use():
        return use(waveflow.load(tmp_path / "model", device="cpu", backend=backend))

    def copy_and_use():
        return use(pickle.loads(pickle.dumps(vocoder)))

    for way in (load_and_use, copy_and_use):
        for found in (
            under(torch.set_default_dtype, torch.bfloat16, torch.float32, way),
            under(torch.set_default_dtype, torch.float64, torch.float32, way),
            under(torch.set_default_device, "meta", None, way),
        ):
            assert all(map(torch.equal, found, expected))


def test_the_fast_inverse_is_taken_whatever_the_default_device():
    vocoder = Vocoder(small("lapglow"))
    under(torch.set_default_device, "meta", None, vocoder.settle)
    assert vocoder.backend == "onednn"


def test_precisions_have_names(tmp_path):
    native.save(small("lapglow"), tmp_path / "model")
    for name in ("float32", "bfloat16", "float16", "float64"):
        vocoder = waveflow.load(tmp_path / "model", device="cpu", dtype=name, backend="reference")
        assert vocoder.dtype == getattr(torch, name)
    assert Vocoder(small("lapglow"), dtype="float64", backend="reference").dtype == torch.float64


@pytest.mark.parametrize("dtype", ["int3", "torch.float32", torch.int8, torch.complex64, 16])
def test_what_is_no_precision_is_refused_by_name(dtype):
    with pytest.raises(ValueError, match=r"dtype is .* expected one of float32, bfloat16, float16, float64"):
        Vocoder(small("lapglow"), dtype=dtype)


def test_auto_settles_and_switches_inside_autocast(fast_pays_after):
    mel, model = torch.full((80, 30), -5.0), small("lapglow")
    settled = Vocoder(small("lapglow"))
    fast_pays_after(0, model)
    switched = Vocoder(model)
    with bfloat16():
        settled.settle()
        switched(mel)
        found = settled(mel, seed=1)
    assert (settled.backend, switched.backend) == ("onednn", "onednn")
    assert torch.equal(found, Vocoder(small("lapglow"), backend="onednn")(mel, seed=1))


def test_a_stream_leaves_the_autocast_of_its_caller_as_it_was():
    stream = Stream(Vocoder(small("lapglow"), backend="reference"), block=4)
    with bfloat16():
        for _ in stream.pieces(torch.full((80, 30), -5.0)):
            assert torch.is_autocast_enabled("cpu")
        assert torch.is_autocast_enabled("cpu")
