"""What must not be converted, and must leave nothing behind."""

import os
import subprocess
import warnings
from contextlib import suppress

import pytest
import torch
import waveglow_files as files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from waveflow.checkpoints import CheckpointError, convert, load


def replace(key, change):
    """A spoiler that changes one tensor, or removes it where `change` is None."""

    def spoil(state):
        value = state.pop(key)
        if change is not None:
            state[key] = change(value)

    return spoil


def poke(value, number):
    value.view(-1)[0] = number
    return value


def singular(value):
    value[0] = value[1]
    return value


SPOILERS = {
    "missing bias": (replace("WN.1.in_layers.0.bias", None), r"lacks WN\.1\.in_layers\.0\.bias, which WaveGlow has"),
    "missing g": (replace("WN.1.start.weight_g", None), r"lacks WN\.1\.start\.weight_g"),
    "missing v": (replace("WN.1.start.weight_v", None), r"lacks WN\.1\.start\.weight_v"),
    "missing end": (lambda s: [s.pop(f"WN.2.end.{leaf}") for leaf in ("weight", "bias")], r"lacks WN\.2\.end"),
    "missing layer": (lambda s: [s.pop(k) for k in [*s] if "in_layers.0" in k], r"lacks WN\.0\.in_layers\.0"),
    "missing flow": (lambda s: [s.pop(k) for k in [*s] if k.startswith("WN.1.")], r"lacks WN\.1\."),
    "missing 1x1": (replace("convinv.1.conv.weight", None), r"lacks convinv\.1"),
    "missing upsampling": (replace("upsample.weight", None), "no WaveGlow: expected one upsample.weight, found 0"),
    "extra key": (lambda s: s.update({"mel.weight": torch.ones(3)}), r"has mel\.weight, which WaveGlow has not"),
    "extra flow": (lambda s: s.update({"WN.3.end.weight": torch.ones(3)}), r"has WN\.3\.end"),
    "unknown leaf": (
        lambda s: s.update({"WN.0.end.scale": torch.ones(3)}),
        r"has WN\.0\.end\.scale, which WaveGlow has not",
    ),
    "huge index": (lambda s: s.update({"convinv.9999.conv.weight": torch.ones(1)}), r"lacks convinv\.3"),
    "weight and weight norm": (
        lambda s: s.update({"WN.0.start.weight": torch.ones_like(s["WN.0.start.weight_v"])}),
        r"has the weight of WN\.0\.start in two forms, WN\.0\.start\.weight, .*weight_g",
    ),
    "weight norm twice": (
        lambda s: s.update({"WN.0.start.parametrizations.weight.original0": s["WN.0.start.weight_g"]}),
        r"has the weight of WN\.0\.start in two forms, .*original0.*; keep one",
    ),
    "narrow bias": (
        replace("WN.0.end.bias", lambda v: v[:-1]),
        r"has WN\.0\.end\.bias of shape \(3,\), the other shapes call for \(4,\)",
    ),
    "wide g": (replace("WN.0.start.weight_g", lambda v: v[..., 0]), r"has WN\.0\.start\.weight_g of shape \(4, 1\)"),
    "wrong width": (replace("WN.1.end.weight", lambda v: v[:, :-1]), r"has WN\.1\.end\.weight of shape \(4, 3, 1\)"),
    "narrow 1x1": (replace("convinv.1.conv.weight", lambda v: v[:-1, :-1]), r"the other shapes call for"),
    "1x1 that grows": (
        replace("convinv.0.conv.weight", lambda v: v[:2, :2]),
        r"1x1 convolutions of \[2, 4, 2\] channels",
    ),
    "oblong 1x1": (replace("convinv.0.conv.weight", lambda v: v[:, :-1]), r"0\.conv\.weight of shape \(4, 3, 1\)"),
    "flat 1x1": (
        replace("convinv.0.conv.weight", lambda v: v[..., 0]),
        r"has convinv\.0\.conv\.weight of shape \(4, 4\)",
    ),
    "1x1 of one dimension": (
        replace("convinv.0.conv.weight", lambda v: v[:, 0, 0]),
        r"has convinv\.0\.conv\.weight of shape \(4,\), expected the weight of a convolution",
    ),
    "flat upsampling": (replace("upsample.weight", lambda v: v[:, 0]), r"has upsample\.weight of shape"),
    "upsampling of other bands": (replace("upsample.weight", lambda v: v[:, :3]), r"has upsample\.weight of shape"),
    "upsampling shorter than a hop": (replace("upsample.weight", lambda v: v[..., :99]), "shorter than hop_length=256"),
    "nothing": (dict.clear, "is no state dict: it is empty"),
    "NaN": (replace("WN.0.end.weight", lambda v: poke(v, float("nan"))), r"NaN.* in WN\.0\.end\.weight"),
    "infinity": (replace("upsample.bias", lambda v: poke(v, float("inf"))), r"NaN.* in upsample\.bias"),
    "integers": (replace("upsample.bias", lambda v: v.int()), r"upsample\.bias of type torch\.int32, expected one of"),
    "no number": (lambda s: s.update({"upsample.bias": "tensor"}), "'upsample.bias' is no tensor"),
    "key that is no text": (lambda s: s.update({3: torch.ones(3)}), "'3' is no tensor"),
    "singular 1x1": (
        replace("convinv.1.conv.weight", singular),
        r"was read, but the 1x1 convolution .*steps\.1.* is singular",
    ),
    "zero 1x1": (replace("convinv.0.conv.weight", torch.zeros_like), "is singular"),
    "weights that diverged": (
        replace("WN.0.end.bias", lambda v: v + 1000),
        "was read, but this is no usable flow: audio",
    ),
    "direction of length zero": (replace("WN.0.start.weight_v", torch.zeros_like), "no usable flow"),
}


@pytest.mark.parametrize("container", ["state dict", "generation 1"])
@pytest.mark.parametrize("spoiler", SPOILERS)
def test_a_spoiled_state_dict_is_refused_with_the_reason(tmp_path, spoiler, container):
    state, model = files.small_state()
    spoil, message = SPOILERS[spoiler]
    spoil(state)
    if container == "generation 1":
        with suppress(AttributeError, TypeError, KeyError):
            state = files.first_generation(state, model.config.n_layers)
    torch.save(state, tmp_path / "source.pt")
    with pytest.raises(CheckpointError, match=message):
        convert(tmp_path / "source.pt", tmp_path / "native")
    assert os.listdir(tmp_path) == ["source.pt"]


@pytest.mark.parametrize("key", ["res_layers.0.weight_g", "skip_layers.1.bias", "cond_layers.0.weight_v"])
def test_a_hole_in_an_early_generation_is_named(tmp_path, key):
    state, model = files.small_state()
    state = files.first_generation(state, model.config.n_layers)
    del state[f"WN.1.{key}"]
    torch.save(state, tmp_path / "source.pt")
    with pytest.raises(CheckpointError, match=r"WN\.1\."):
        convert(tmp_path / "source.pt", tmp_path / "native")
    for other in [k for k in state if k.startswith(f"WN.1.{key.rpartition('.')[0]}")]:
        del state[other]
    torch.save(state, tmp_path / "source.pt")
    with pytest.raises(CheckpointError, match=rf"lacks WN\.1\.{key.rpartition('.')[0]}"):
        convert(tmp_path / "source.pt", tmp_path / "native")


def test_weights_too_large_for_half_precision_are_named(tmp_path):
    state, _ = files.small_state()
    state["WN.0.end.bias"][0] = 1e-9
    state["WN.0.start.weight_v"] *= 1e6
    torch.save(state, tmp_path / "source.pt")
    with pytest.raises(CheckpointError, match="can hold; save in float32"):
        convert(tmp_path / "source.pt", tmp_path / "native", dtype=torch.float16)
    convert(tmp_path / "source.pt", tmp_path / "native")


def test_numbers_of_eight_bits_are_refused(tmp_path):
    state, _ = files.small_state()
    save_file({**state, "upsample.bias": state["upsample.bias"].to(torch.float8_e4m3fn)}, tmp_path / "source")
    with pytest.raises(CheckpointError, match=r"has upsample\.bias of type torch\.float8_e4m3fn, expected one of"):
        convert(tmp_path / "source", tmp_path / "native")


OTHERS = {
    "HiFi-GAN": ({"generator": {"conv_pre.bias": 0, "resblocks.0.convs1.0.bias": 0}}, "is the generator of a HiFi-GAN"),
    "Parallel WaveGAN": (
        {"model": {"generator": {"conv_layers.0.conv1x1_aux.weight_g": 0}, "discriminator": {"conv_layers.0.bias": 0}}},
        "is the generator of a Parallel WaveGAN",
    ),
    "Tacotron 2": ({"state_dict": {"module.decoder.attention_rnn.bias_ih": 0}}, "is a Tacotron 2, which makes mels"),
    "Vocos": ({"backbone.convnext.0.gamma": 0, "head.out.bias": 0}, "is a Vocos"),
    "own": ({"flow.steps.1.steps.0.steps.0.weight": 0}, "waveflow's own form, which needs no conversion"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_what_is_no_flow_is_called_by_its_name(tmp_path, other):
    content, message = OTHERS[other]
    fill = lambda value: {k: fill(v) for k, v in value.items()} if isinstance(value, dict) else torch.ones(3)  # noqa: E731
    torch.save(fill(content), tmp_path / "source.pt")
    with pytest.raises(CheckpointError, match=message):
        convert(tmp_path / "source.pt", tmp_path / "native")


def test_what_holds_no_model_is_said_so(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "script.pt")
    torch.save(torch.ones(3), tmp_path / "tensor.pt")
    for name, message in (("script", "is a TorchScript program"), ("tensor", "holds a Tensor, expected a model")):
        with pytest.raises(CheckpointError, match=message):
            convert(tmp_path / f"{name}.pt", tmp_path / "native")


class Payload:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


PAYLOADS = {
    "os.system": Payload(os.system, "touch pwned"),
    "Popen": Payload(subprocess.Popen, "touch pwned"),
    "eval": Payload(eval, "__import__('os').system('touch pwned')"),
    "exec": Payload(exec, "import os; os.system('touch pwned')"),
    "torch.load": Payload(torch.load, "other.pt"),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("hidden", ["optimizer", "model", "module"])
@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_malicious_file_runs_nothing_and_leaves_nothing(tmp_path, monkeypatch, payload, hidden, legacy):
    monkeypatch.chdir(tmp_path)
    state, _ = files.small_state()
    with files.fake_glow() as glow, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = files.as_object(state, glow)
        saved = {"model": model, "optimizer": {}}
        if hidden == "module":
            model.WN[0].hook = PAYLOADS[payload]
        else:
            saved[hidden] = PAYLOADS[payload]
        torch.save(saved, "source.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match="may be malicious; nothing was executed"):
        convert("source.pt", "native")
    assert os.listdir() == ["source.pt"]


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors", "nemo"])
def test_a_file_cut_off_anywhere_leaves_nothing(tmp_path, form):
    state, _ = files.small_state()
    path = tmp_path / "source"
    if form == "safetensors":
        save_file(state, path)
    elif form == "nemo":
        files.write_nemo(path, state)
    else:
        files.write_object(path, state, legacy=form == "legacy")
    data = path.read_bytes()
    # The last bytes of a gzip file are padding of the tar inside, which may be missing.
    end = len(data) - (4096 if form == "nemo" else 1)
    for length in {*range(0, 2000, 97), *range(2000, end, len(data) // 25), end}:
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError):
            convert(path, tmp_path / "native")
    assert os.listdir(tmp_path) == ["source"]


@pytest.mark.parametrize("legacy", [False, True])
@given(data=st.data())
@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_flipped_bytes_give_an_error_or_a_sound_model_and_run_nothing(tmp_path, legacy, data):
    torch.manual_seed(0)
    state, _ = files.small_state()
    path, native = tmp_path / "source.pt", tmp_path / "native"
    files.write_object(path, state, legacy=legacy)
    file = bytearray(path.read_bytes())
    # The pickle comes first; a flip among the weights is just another weight.
    head = data.draw(st.sampled_from([20_000, len(file)]))
    for position, byte in data.draw(
        st.lists(st.tuples(st.integers(0, head - 1), st.integers(0, 255)), min_size=1, max_size=3)
    ):
        file[position] = byte
    path.write_bytes(file)
    try:
        convert(path, native, overwrite=True)
    except CheckpointError:
        assert not native.exists()
    else:
        load(native)
        for part in native.iterdir():
            part.unlink()
        native.rmdir()
    assert os.listdir(tmp_path) == ["source.pt"]
