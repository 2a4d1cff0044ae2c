"""Small state dicts with random weights, under other projects' names."""

import math

import torch


class _State(dict):
    def conv(self, key, *shape, normed=True, bias=True):
        direction = torch.randn(*shape) / math.prod(shape[1:]) ** 0.5
        if normed:
            self[f"{key}.weight_v"] = direction
            self[f"{key}.weight_g"] = torch.rand(shape[0], *[1] * (len(shape) - 1)) + 0.5
        else:
            self[f"{key}.weight"] = direction
        if bias:
            self[f"{key}.bias"] = 0.1 * torch.randn(shape[0])


def squeezewave(n_flows=3, group=16, early=2, n=4, n_layers=2, n_mels=5, folded=False):
    state = _State()
    for k in range(n_flows):
        width, wn = group - early * (k // 2), f"WN.{k}"
        state.conv(f"convinv.{k}.conv", width, width, 1, normed=False, bias=False)
        state[f"convinv.{k}.conv.weight"] = torch.linalg.qr(state[f"convinv.{k}.conv.weight"][..., 0])[0][..., None]
        state.conv(f"{wn}.start", n, width // 2, 1)
        state.conv(f"{wn}.cond_layer", 2 * n * n_layers, n_mels, 1)
        state.conv(f"{wn}.end", width, n, 1, normed=False)
        state[f"{wn}.end.weight"] *= 0.2
        for i in range(n_layers):
            layer = f"{wn}.in_layers.{i}"
            if not folded:
                for part in ("weight", "running_var"):
                    state[f"{layer}.0.{part}"] = torch.rand(n) + 0.5
                for part in ("bias", "running_mean"):
                    state[f"{layer}.0.{part}"] = torch.randn(n)
                state[f"{layer}.0.num_batches_tracked"] = torch.tensor(7)
            state.conv(f"{layer}.{1 - folded}", n, 1, 3, normed=False)
            state.conv(f"{layer}.{2 - folded}", 2 * n, n, 1, normed=False)
            state.conv(f"{wn}.res_skip_layers.{i}", n, n, 1)
    return dict(state)


def l0sg(n_flows=4, n=4, n_layers=2, n_mels=5):
    state = _State()
    for i in (0, 2):
        state.conv(f"upsample_conv.{i}", 1, 1, 3, 32)
    for k in range(n_flows):
        net = f"flows.{k}.coupling.net"
        state.conv(f"{net}.front_conv.0.conv", n, 1, 1, 1)
        for i in range(n_layers):
            state.conv(f"{net}.res_blocks.{i}.filter_gate_conv.conv", 2 * n, n, 3, 3)
            state.conv(f"{net}.res_blocks.{i}.filter_gate_conv_c", 2 * n, n_mels, 1, 1)
            state.conv(f"{net}.res_blocks.{i}.res_skip_conv", 2 * n, n, 1, 1)
        state.conv(f"flows.{k}.coupling.proj_log_s_t.conv", 2, n, 1, 1, normed=False)
    return dict(state)


def flowavenet(n_blocks=3, n_flows=2, n_layers=2, n=4, n_mels=5, per_split=2, affine=True):
    state = _State()

    def wavenet(key, inputs, outputs, told, layers):
        state.conv(f"{key}.front_conv.0.conv", n, inputs, 3)
        for i in range(layers):
            block = f"{key}.res_blocks.{i}"
            for kind in ("filter", "gate"):
                state.conv(f"{block}.{kind}_conv.conv", n, n, 3)
                state.conv(f"{block}.{kind}_conv_c", n, told, 1)
            for kind in ("res", "skip"):
                state.conv(f"{block}.{kind}_conv", n, n, 1)
        state.conv(f"{key}.final_conv.1.conv", n, n, 1)
        state.conv(f"{key}.final_conv.3.conv", outputs, n, 1, normed=False)
        state[f"{key}.final_conv.3.scale"] = 0.1 * torch.randn(1, outputs, 1)

    for i in (0, 2):
        state.conv(f"upsample_conv.{i}", 1, 1, 3, 32)
    channels, told = 1, n_mels
    for b in range(n_blocks):
        channels, told = 2 * channels, 2 * told
        for k in range(n_flows):
            flow = f"blocks.{b}.flows.{k}"
            state[f"{flow}.actnorm.loc"] = 0.1 * torch.randn(1, channels, 1)
            state[f"{flow}.actnorm.scale"] = torch.rand(1, channels, 1) + 0.5
            wavenet(f"{flow}.coupling.net", channels // 2, channels if affine else channels // 2, told // 2, n_layers)
        if (b + 1) % per_split == 0 and b < n_blocks - 1:
            wavenet(f"blocks.{b}.prior", channels // 2, channels, told, 2)
            channels //= 2
    return dict(state)
