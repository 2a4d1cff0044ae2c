import pytest
import torch
from small_models import moved, small

from waveflow.audio.mel import MelConfig
from waveflow.decibels import signal_to_error
from waveflow.inference import fuse
from waveflow.inference.packed import pack
from waveflow.inference.planned import PlannedInverse
from waveflow.models import MelContext, build

# A short hop: four positions of a frame instead of thirty-two, and so few programs to interpret.
MEL = MelConfig(n_fft=128, win_length=128, hop_length=32, n_mels=8)

VARIANTS = {
    "waveglow": {"n_flows": 4, "n_channels": 8, "n_layers": 2, "n_early_every": 2},
    "waveglow-swapped": {"n_flows": 3, "n_channels": 16, "n_layers": 2, "swap_halves": True},
    "waveglow-short-kernel": {"n_flows": 2, "n_channels": 8, "n_layers": 1, "upsample_kernel_size": 50},
    "waveglow-wide": {"n_flows": 2, "n_channels": 8, "n_layers": 2, "n_group": 32, "n_early_every": 5},
    "lapglow": {"n_flows": 2, "n_channels": 24, "dilations": [1, 2], "n_encoded": 20, "n_encoder_blocks": 1},
    "lapglow-raw": {"n_flows": 2, "n_channels": 24, "dilations": [1, 2], "n_encoded": 0},
    "lapglow-kbd": {"n_flows": 1, "n_channels": 8, "dilations": [3], "window": "kbd"},
}


@pytest.fixture(params=VARIANTS)
def model(request):
    return moved(build(request.param.split("-")[0], mel=MEL, **VARIANTS[request.param])).double()


def problem(model, n_frames=11, batch=3, cut=0):
    hop = model.mel_config.hop_length
    latent = torch.randn(batch, n_frames * hop - cut * model.n_group, dtype=torch.float64)
    mel = torch.randn(batch, model.mel_config.n_mels, n_frames, dtype=torch.float64)
    lengths = torch.tensor([latent.shape[1], 4 * hop, 7 * hop][:batch])
    return latent, mel, lengths


def test_packing_changes_nothing_in_double_precision(model):
    planned = PlannedInverse(pack(model, torch.float64), "reference")
    latent, mel, lengths = problem(model)
    for context in (mel, MelContext(mel, lengths)):
        with torch.no_grad():
            expected = model.inverse(latent, context)
        torch.testing.assert_close(planned(latent, context), expected, rtol=1e-9, atol=1e-9)


def test_audio_may_end_within_a_frame(model):
    planned = PlannedInverse(pack(model, torch.float64), "reference")
    latent, mel, _ = problem(model, cut=0 if model.n_group == model.mel_config.hop_length else 3)
    with torch.no_grad():
        expected = model.inverse(latent, mel)
    torch.testing.assert_close(planned(latent, mel), expected, rtol=1e-9, atol=1e-9)


def test_a_fused_model_packs_to_the_same(model):
    latent, mel, _ = problem(model, batch=1)
    found = PlannedInverse(pack(fuse(model), torch.float64), "reference")(latent, mel)
    expected = PlannedInverse(pack(model, torch.float64), "reference")(latent, mel)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("dtype", "least"), [(torch.float32, 90), (torch.float16, 60), (torch.bfloat16, 45)], ids=str)
def test_rounded_operands_cost_this_many_decibels(model, dtype, least):
    planned = PlannedInverse(pack(model, dtype), "reference")
    latent, mel, _ = problem(model)
    with torch.no_grad():
        expected = model.inverse(latent, mel)
    assert signal_to_error(planned(latent.float(), mel.float()), expected) > least


def test_the_packed_flow_shares_nothing_with_the_model(model):
    planned = PlannedInverse(pack(model, torch.float64), "reference")
    latent, mel, _ = problem(model, batch=1)
    before = planned(latent, mel)
    for parameter in model.parameters():
        parameter.data.mul_(1.1)
    assert torch.equal(planned(latent, mel), before)


def test_a_plan_is_kept_and_leaves_nothing_behind_for_the_next_call():
    model = small("waveglow").double()
    planned = PlannedInverse(pack(model, torch.float64), "reference")
    latent, mel, lengths = problem(model)
    first = planned(latent, mel).clone()
    planned(1e3 * latent, MelContext(-mel, lengths))
    assert torch.equal(planned(latent, mel), first)
    assert len(planned._plans) == 1


@pytest.mark.parametrize("name", ["waveglow", "lapglow"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_the_kernels_make_the_audio_of_the_reference(name, dtype):
    pytest.importorskip("triton", reason="Triton is part of PyTorch's builds for Linux alone")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = moved(build(name, mel=MEL, **VARIANTS[name]))
    latent, mel, _ = problem(model, n_frames=5, batch=2)
    context = MelContext(mel.float(), torch.tensor([5, 2]) * MEL.hop_length)
    on_device = MelContext(context.mel.to(device), context.lengths.to(device))
    packed = pack(model, dtype, device)
    found = PlannedInverse(packed, "triton")(latent.float().to(device), on_device).cpu()
    expected = PlannedInverse(pack(model, dtype, "cpu"), "reference")(latent.float(), context)
    assert signal_to_error(found, expected) > (100 if dtype == torch.float32 else 70)
    assert found[1, 2 * MEL.hop_length :].abs().max() == 0


def test_a_model_without_kernels_is_refused_by_name():
    with pytest.raises(ValueError, match="SqueezeWave cannot be folded"):
        pack(build("squeezewave", n_flows=2, n_channels=8, n_layers=1), torch.float32)


def test_a_recorded_plan_serves_shorter_mels_whatever_a_longer_one_left_there(model, monkeypatch):
    monkeypatch.setattr("waveflow.inference.planned._Plan._record", lambda plan: None)
    planned = PlannedInverse(pack(model, torch.float64), "reference")
    planned.graphs = True
    longer, mel, lengths = problem(model, n_frames=15)
    planned(longer, MelContext(1e3 * mel, None))
    for n_frames in (11, 15):
        latent, mel, lengths = problem(model, n_frames=n_frames)
        for context in (mel, MelContext(mel, lengths)):
            with torch.no_grad():
                expected = model.inverse(latent, context)
            torch.testing.assert_close(planned(latent, context), expected, rtol=1e-9, atol=1e-9)
    assert [*planned._plans] == [(3, 16)]
