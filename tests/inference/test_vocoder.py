import math

import numpy as np
import pytest
import torch
from small_models import small
from tolerances import PIECES

import waveflow.inference.vocoder as vocoder_module
from waveflow.inference import Vocoder, load
from waveflow.inference.cpu.items import ItemwiseInverse
from waveflow.losses import log_likelihood


def test_a_mel_becomes_hop_length_samples_a_frame(vocoder, audio):
    mel = vocoder.mel(audio)
    assert vocoder(mel).shape == (mel.shape[-1] * 256,)
    assert vocoder(mel[None]).shape == (1, mel.shape[-1] * 256)


def test_the_same_seed_gives_the_same_audio_and_another_does_not(vocoder, audio):
    mel = vocoder.mel(audio)
    assert torch.equal(vocoder(mel, seed=3), vocoder(mel, seed=3))
    assert not torch.equal(vocoder(mel, seed=3), vocoder(mel, seed=4))
    assert not torch.equal(vocoder(mel), vocoder(mel))


def test_sigma_scales_all_of_the_latent(vocoder, audio):
    mel = vocoder.mel(audio)
    z = vocoder_module.batch_normal([5], 0, mel.shape[-1] * 256)
    for sigma in (0.0, 0.5, 1.0):
        expected = vocoder.decode(sigma * z, mel)[0]
        torch.testing.assert_close(vocoder(mel, sigma=sigma, seed=5), expected, atol=1e-5, rtol=1e-5)


def test_each_item_of_a_padded_batch_is_what_it_is_alone(vocoder, audio):
    mel = vocoder.mel(audio)
    padded = torch.stack([mel, mel.clone()])
    padded[1, :, 40:] = -11.5
    for settings in ({}, {"denoise": 0.05, "project": 1}):
        both, lengths = vocoder(padded, [mel.shape[-1], 40], seed=[1, 2], **settings)
        assert lengths.tolist() == [mel.shape[-1] * 256, 40 * 256]
        torch.testing.assert_close(both[0], vocoder(mel, seed=1, **settings), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(both[1, : 40 * 256], vocoder(mel[:, :40], seed=2, **settings), atol=1e-5, rtol=1e-4)
        assert both[1, 40 * 256 :].abs().max() == 0


@pytest.mark.parametrize("settings", [{}, {"denoise": 0.05}, {"project": 2}], ids=str)
def test_chunks_join_to_what_one_piece_gives(vocoder, audio, settings, monkeypatch):
    mel = vocoder.mel(audio.repeat(3))
    whole = vocoder(mel, seed=1, **settings)
    monkeypatch.setattr(vocoder_module, "CHUNK_SECONDS", 0.5)
    assert (vocoder(mel, seed=1, **settings) - whole).abs().max() < PIECES * whole.abs().max()


def test_padded_batches_may_be_chunked(vocoder, audio, monkeypatch):
    mel = vocoder.mel(audio).expand(2, -1, -1)
    whole, _ = vocoder(mel, [mel.shape[-1], 30], seed=1)
    monkeypatch.setattr(vocoder_module, "CHUNK_SECONDS", 0.4)
    pieces, _ = vocoder(mel, [mel.shape[-1], 30], seed=1)
    assert (pieces - whole).abs().max() < PIECES * whole.abs().max()


def test_encode_and_decode_undo_each_other(vocoder, audio):
    mel = vocoder.mel(audio)
    z = vocoder.encode(audio)
    assert z.shape[-1] % 256 == 0
    assert z.shape[-1] >= len(audio)
    assert (vocoder.decode(z, mel)[: len(audio)] - audio).abs().max() < 1e-4


def test_log_prob_is_the_change_of_variables(vocoder, audio):
    audio = audio[: 256 * 20]
    mel = vocoder.mel(audio)
    z, log_det = vocoder.model(audio[None], mel[None])
    expected = log_det[0] - 0.5 * (z**2).sum() - 0.5 * len(audio) * math.log(2 * math.pi)
    torch.testing.assert_close(vocoder.log_prob(audio, dequantize=False), expected.detach(), rtol=1e-5, atol=1e-2)
    torch.testing.assert_close(log_likelihood(z, log_det)[0], expected, rtol=1e-5, atol=1e-2)


def test_bits_are_fifteen_less_nats_over_log_two(vocoder, audio):
    audio = audio[: 256 * 20]
    nats = vocoder.log_prob(audio) / len(audio)
    torch.testing.assert_close(vocoder.bits_per_sample(audio), 15 - nats / math.log(2))


def test_log_prob_of_a_long_recording_is_taken_piece_by_piece(vocoder, audio, monkeypatch):
    whole = vocoder.log_prob(audio)
    monkeypatch.setattr(vocoder_module, "CHUNK_SECONDS", 0.5)
    pieces = vocoder.log_prob(audio)
    assert abs(pieces - whole) / len(audio) < 0.1
    assert pieces != whole


def test_a_saved_vocoder_loads_to_the_same_audio(vocoder, audio, tmp_path):
    mel = vocoder.mel(audio)
    vocoder.save(tmp_path / "voice")
    again = load(tmp_path / "voice", device="cpu", backend=vocoder.backend)
    assert torch.equal(again(mel, seed=1), vocoder(mel, seed=1))


def test_a_later_change_of_the_weights_does_not_reach_the_fused_copy(model, audio):
    vocoder = Vocoder(model)
    mel = vocoder.mel(audio)
    before = vocoder(mel, seed=1)
    for parameter in model.parameters():
        parameter.data.mul_(1.1)
    assert torch.equal(vocoder(mel, seed=1), before)
    assert not torch.equal(Vocoder(model)(mel, seed=1), before)


def test_one_frame_is_enough(vocoder, audio):
    assert vocoder(vocoder.mel(audio)[:, :1]).shape == (256,)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda mel: mel.index_fill(1, torch.tensor([3]), float("nan")), "NaN or infinite"),
        (lambda mel: mel.index_fill(1, torch.tensor([3]), float("inf")), "NaN or infinite"),
        (lambda mel: mel[:79], "79 bands, the model expects n_mels=80"),
        (lambda mel: mel.T, "transposed"),
        (lambda mel: mel[:, :0], "no frames"),
        (lambda mel: mel.long(), "floating"),
        (lambda mel: mel[0], "expected"),
    ],
)
def test_a_wrong_mel_is_refused_with_the_remedy(vocoder, audio, damage, message):
    with pytest.raises(ValueError, match=message):
        vocoder(damage(vocoder.mel(audio)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma": -1.0}, "sigma is -1.0"),
        ({"denoise": float("nan")}, "denoise is nan"),
        ({"project": -1}, "project is -1"),
        ({"project": 1.5}, "project is 1.5, expected a whole number"),
        ({"sigma": "1"}, "sigma is '1', expected a number"),
        ({"seed": -5}, "seed is -5"),
        ({"lengths": [3, 4]}, "one whole number of frames"),
        ({"lengths": [0]}, "0 to 0 frames"),
        ({"lengths": [999]}, "999"),
    ],
)
def test_settings_out_of_range_are_refused(vocoder, audio, settings, message):
    with pytest.raises(ValueError, match=message):
        vocoder(vocoder.mel(audio)[None], **settings)


def test_audio_that_is_no_audio_is_refused(vocoder):
    for bad in (
        torch.zeros(1000).numpy(),
        torch.zeros(1000, dtype=torch.int16),
        torch.full((1000,), float("nan")),
        torch.zeros(1, 1, 1000),
    ):
        with pytest.raises(ValueError, match=r"expected (finite floating point|a torch tensor)"):
            vocoder.log_prob(bad)


def test_mels_of_another_number_than_the_recordings_are_refused_with_the_shapes(vocoder, audio):
    audio = audio[: 256 * 20].repeat(2, 1)
    mels = vocoder.mel(audio[0])[:, :20].repeat(3, 1, 1)
    for use in (vocoder.encode, vocoder.log_prob, vocoder.nats_per_sample, vocoder.bits_per_sample, vocoder.decode):
        with pytest.raises(
            ValueError, match=r"\(1, 5120\) was given with mels \(2, 80, 20\), expected one mel for all"
        ):
            use(audio[0], mels[:2])
        with pytest.raises(
            ValueError, match=r"\(2, 5120\) was given with mels \(3, 80, 20\), expected one mel for all"
        ):
            use(audio, mels)
        torch.testing.assert_close(use(audio, mels[0]), use(audio, mels[:2]), rtol=1e-5, atol=1e-5)


def test_an_unknown_model_or_backend_is_named(tmp_path, model):
    with pytest.raises(ValueError, match=r"no model 'nonesuch'.*bundled models are"):
        load("nonesuch")
    file = tmp_path / "old.pt"
    file.touch()
    with pytest.raises(ValueError, match="waveflow convert"):
        load(file)
    with pytest.raises(ValueError, match="backend is 'tpu'"):
        Vocoder(model, backend="tpu")


def test_pytorch_works_in_one_thread_beside_an_inverse_with_its_own(monkeypatch):
    vocoder, before, seen = Vocoder(small("lapglow"), backend="onednn"), torch.get_num_threads(), []
    compute = ItemwiseInverse.__call__

    def watched(*args):
        seen.append(torch.get_num_threads())
        return compute(*args)

    monkeypatch.setattr(ItemwiseInverse, "__call__", watched)
    torch.set_num_threads(2)
    try:
        vocoder(torch.full((80, 5), -5.0))
        assert (seen, torch.get_num_threads()) == ([1], 2)
        vocoder(torch.full((80, 5), -5.0), project=1)
        assert seen == [1, 2]
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("call", [lambda v, x: v.mel(x), lambda v, x: v.decode(x, torch.full((80, 4), -5.0))])
def test_arrays_in_place_of_tensors_are_named(model, call):
    with pytest.raises(ValueError, match=r"is a ndarray, expected a torch tensor; use torch\.as_tensor"):
        call(Vocoder(model, backend="reference"), np.zeros(1024, np.float32))
