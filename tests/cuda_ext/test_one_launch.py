import pytest
import torch
from small_models import moved

from waveflow.audio.mel import MelConfig
from waveflow.inference.packed import pack
from waveflow.inference.planned import PlannedInverse
from waveflow.models import MelContext, build

# Wide enough that the first hidden state is not folded into the first layer.
MEL = MelConfig(n_fft=256, win_length=256, hop_length=64, n_mels=8)
SIZES = {
    "two-steps": {"n_flows": 2, "n_channels": 24, "dilations": [1, 2], "n_encoded": 0},
    "three-layers-of-several-blocks": {"n_flows": 3, "n_channels": 72, "dilations": [1, 2, 4]},
    "encoded": {"n_flows": 2, "n_channels": 24, "dilations": [1, 2], "n_encoded": 20, "n_encoder_blocks": 1},
    "one-layer": {"n_flows": 1, "n_channels": 16, "dilations": [1], "window": "kbd"},
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
def test_one_launch_makes_the_audio_of_the_reference(sizes, dtype, host_kernels):
    from waveflow_cuda.lapglow import OneLaunch, serves

    model = moved(build("lapglow", mel=MEL, **sizes))
    flow, n_frames = pack(model, dtype), 19
    assert serves(flow)
    latent = torch.randn(2, n_frames * MEL.hop_length)
    mel, lengths = torch.randn(2, MEL.n_mels, n_frames), torch.tensor([n_frames, 7])
    launch = OneLaunch(flow, 2, n_frames)
    for tensor in (launch.out, launch.gated, launch.latents, launch.frames, launch.log_gain, launch.audio):
        tensor.fill_(float("nan"))
    launch.hidden.fill_(float("nan"))
    for scale in (1.0, 0.5):
        context = MelContext(scale * mel, lengths * MEL.hop_length)
        held = flow.features(torch.cat([scale * mel[:1], scale * hold(mel[1:], 7)]))
        found = launch(latent.view(2, n_frames, -1), held, lengths.int())
        expected = PlannedInverse(flow, "reference")(latent, context)
        error = (found - expected).square().sum() / expected.square().sum()
        assert 10 * torch.log10(error) < (-70 if dtype == torch.float16 else -50)
        assert found[1, 7 * MEL.hop_length :].abs().max() == 0


def hold(mel, n):
    return torch.cat([mel[..., :n], mel[..., n - 1 : n].expand(-1, -1, mel.shape[-1] - n)], dim=-1)


def test_other_flows_are_left_to_the_kernels_of_one_operation_each(host_kernels):
    from waveflow_cuda.lapglow import serves

    waveglow = build("waveglow", mel=MEL, n_flows=2, n_channels=8, n_layers=2)
    assert not serves(pack(waveglow, torch.float16))


@pytest.mark.parametrize(
    ("name", "sizes", "launches"),
    [
        ("lapglow", SIZES["two-steps"], True),
        ("waveglow", {"n_flows": 3, "n_channels": 16, "n_layers": 2, "n_early_every": 2}, False),
    ],
)
def test_the_planned_inverse_takes_one_launch_where_there_is_one(name, sizes, launches, host_kernels):
    model = moved(build(name, mel=MEL, **sizes))
    flow = pack(model, torch.float16)
    latent, mel = torch.randn(2, 5 * MEL.hop_length), torch.randn(2, MEL.n_mels, 5)
    context = MelContext(mel, torch.tensor([5, 2]) * MEL.hop_length)
    planned = PlannedInverse(flow, "cuda")
    found, expected = planned(latent, context), PlannedInverse(flow, "reference")(latent, context)
    assert 10 * torch.log10((found - expected).square().sum() / expected.square().sum()) < -70
    assert [plan.launch is not None for plan in planned._plans.values()] == [launches]
