"""The CUDA kernels on a GPU, where the extension is built: against their truths on the CPU."""

import importlib.util

import pytest
import torch
from ops.layers import Layer
from ops.test_coupling_inverse import arguments as coupling_arguments
from ops.test_coupling_inverse import run as run_coupling
from ops.test_lapped_inverse import problem as lapped_problem
from small_models import moved

from waveflow.audio.mel import MelConfig
from waveflow.inference.noise import batch_normal, normal
from waveflow.inference.packed import pack
from waveflow.inference.planned import PlannedInverse
from waveflow.models import MelContext, build
from waveflow.ops.lapped_inverse import lapped_inverse

BUILT = torch.cuda.is_available() and importlib.util.find_spec("waveflow_cuda") is not None
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not BUILT, reason="needs a CUDA device and `pip install --no-build-isolation ./cuda_ext`"),
]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("folded", [False, True], ids=["layer", "first"])
@pytest.mark.parametrize("n_frames", [1, 37, 211])
@pytest.mark.parametrize("n_channels", [16, 24, 96, 192, 256, 512])
def test_a_layer_equals_its_truth(n_channels, n_frames, folded, dtype):
    layer = Layer(n_channels=n_channels, n_frames=n_frames, lengths=(4 * n_frames, 3), folded=folded, dtype=dtype)
    bound = 2e-3 if dtype == torch.float16 else 1.6e-2
    for x, y in zip(layer.run("cuda", "cuda"), layer.run("reference")):
        torch.testing.assert_close(x, y, rtol=bound, atol=bound)


@pytest.mark.parametrize("sizes", [{}, {"n": 256, "n_early": 0, "n_hidden": 192, "n_positions": 1, "n_frames": 37}])
def test_a_coupling_equals_its_truth(sizes):
    given = coupling_arguments(**sizes, max_log_s=2.0, dtype=torch.float16)
    found, expected = run_coupling("cuda", "cuda", given), run_coupling("reference", "cpu", given)
    torch.testing.assert_close(found[0], expected[0], rtol=2e-5, atol=2e-5)
    if found[1] is not None:
        torch.testing.assert_close(found[1], expected[1], rtol=2e-3, atol=2e-3, equal_nan=True)


def test_a_lapped_inverse_equals_its_truth():
    _, arguments = lapped_problem(256, n_frames=61)
    found = lapped_inverse(*(x.cuda() for x in arguments), "cuda").cpu()
    torch.testing.assert_close(found, lapped_inverse(*arguments), rtol=2e-5, atol=2e-5)


def test_the_noise_equals_its_truth():
    found = batch_normal([5, 2**63 + 11], 2**35 + 3, 7777, device="cuda", backend="cuda").cpu()
    expected = torch.stack([normal(seed, 2**35 + 3, 7777) for seed in (5, 2**63 + 11)])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("n_frames", [1, 19, 200])
def test_one_launch_makes_the_audio_of_the_reference_every_time(n_frames):
    mel_config = MelConfig(n_fft=256, win_length=256, hop_length=64, n_mels=8)
    model = moved(build("lapglow", mel=mel_config, n_flows=3, n_channels=72, dilations=[1, 2, 4]))
    latent, mel = torch.randn(2, n_frames * 64), torch.randn(2, 8, n_frames)
    lengths = torch.tensor([n_frames, max(1, n_frames // 3)]) * 64
    expected = PlannedInverse(pack(model, torch.float16), "reference")(latent, MelContext(mel, lengths))
    planned = PlannedInverse(pack(model, torch.float16, "cuda"), "cuda")
    context = MelContext(mel.cuda(), lengths.cuda())
    # A barrier that is missing shows in some runs only.
    for _ in range(20):
        found = planned(latent.cuda(), context).cpu()
        # A GPU encodes the mel's frames in half precision, the CPU in float32: -63 on an H200.
        assert 10 * torch.log10((found - expected).square().sum() / expected.square().sum()) < -58
    assert all(plan.launch is not None for plan in planned._plans.values())
