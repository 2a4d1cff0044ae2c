"""What the WaveNets have in common; each has its own file beside this one."""

import pytest
import torch

from waveflow.nn import ScaledWaveNet, SeparableWaveNet, TimedWaveNet, WaveNet, WaveNet2D
from waveflow.nn.scaled_wavenet import ContextHalves

SMALL = {"context_channels": 6, "n_channels": 4, "n_layers": 2}
NETS = {
    "WaveNet": (lambda: WaveNet(4, 4, **SMALL), (4, 9), "(B, 6, L)"),
    "ScaledWaveNet": (lambda: ScaledWaveNet(4, 4, **SMALL), (4, 9), "(B, 6, L)"),
    "SeparableWaveNet": (lambda: SeparableWaveNet(4, 4, **SMALL), (4, 9), "(B, 6, L)"),
    "WaveNet2D": (lambda: WaveNet2D(4, 4, **SMALL), (4, 9, 9), "(B, 6, H, W)"),
    "ContextHalves": (lambda: ContextHalves(ScaledWaveNet(4, 4, **SMALL), 1), (4, 9), "(B, 12, L)"),
    "TimedWaveNet": (lambda: Timed(), (4, 9), "(B, 8, L)"),
}


class Timed(TimedWaveNet):
    def __init__(self):
        super().__init__(4, n_channels=4, dilations=[1])

    def forward(self, x, context=None):
        return super().forward(torch.tensor(0.5), x, context)


@pytest.mark.parametrize("name", NETS)
def test_a_net_without_the_features_it_was_built_for_says_what_to_pass(name):
    build, shape, expected = NETS[name]
    x = torch.randn(2, *shape)
    with pytest.raises(ValueError) as missing:
        build()(x)
    assert str(missing.value) == f"context is none, expected features of shape {expected}; pass them as the context"
    other = x[:, :3]
    with pytest.raises(ValueError) as wrong:
        build()(x, other)
    assert f"context is features of shape {tuple(other.shape)}, expected features of shape {expected}" in str(
        wrong.value
    )
