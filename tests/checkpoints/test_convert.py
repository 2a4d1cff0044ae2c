import json
import os

import pytest
import torch
import waveglow_files as files
from conftest import shared
from goldens import distance, golden
from safetensors.torch import save_file
from tolerances import GOLDEN_WAVEGLOW
from torch.nn import functional as F

from waveflow.audio.mel import MelConfig
from waveflow.checkpoints import CheckpointError, convert, load, read_facts
from waveflow.checkpoints.nvidia import to_nvidia_state_dict

EXTRAS = {"iteration": 7, "learning_rate": 1e-4, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}}


def prefixed(state, prefix):
    return {f"{prefix}{key}": value for key, value in state.items()}


def dle(state, n_layers):
    """As DeepLearningExamples' train.py saves it."""
    rng = torch.get_rng_state()
    model = prefixed(files.by_layer(state, n_layers), "module.")
    config = {"n_mel_channels": 5, "WN_config": {"n_layers": n_layers}}
    return {"epoch": 3, "random_rng_states_all": rng, "config": config, "state_dict": model, "scaler": {"scale": 2.0}}


FORMATS = {
    "object": lambda path, s, n: files.write_object(path, s),
    "object, legacy": lambda path, s, n: files.write_object(path, s, legacy=True),
    "object, generation 2": lambda path, s, n: files.write_object(path, files.by_layer(s, n)),
    "object, generation 1": lambda path, s, n: files.write_object(path, files.first_generation(s, n)),
    "object, generation 1, legacy": lambda path, s, n: files.write_object(
        path, files.first_generation(s, n), legacy=True
    ),
    "object of old torch, generation 2, legacy": lambda path, s, n: files.write_old_object(path, files.by_layer(s, n)),
    "object within DataParallel": lambda path, s, n: files.write_wrapped_object(path, s),
    "object without weight norm": lambda path, s, n: files.write_object(path, files.plain(s)),
    "DeepLearningExamples": lambda path, s, n: torch.save(dle(s, n), path),
    "prefix module.1.": lambda path, s, n: torch.save({"state_dict": prefixed(s, "module.1.")}, path),
    "state dict": lambda path, s, n: torch.save(s, path),
    "state dict, legacy": lambda path, s, n: torch.save(s, path, _use_new_zipfile_serialization=False),
    "state dict under model": lambda path, s, n: torch.save({"model": s, **EXTRAS}, path),
    "state dict, generation 1": lambda path, s, n: torch.save(files.first_generation(s, n), path),
    "state dict without weight norm": lambda path, s, n: torch.save(files.plain(s), path),
    "state dict, generation 1 without weight norm": lambda path, s, n: torch.save(
        files.plain(files.first_generation(s, n)), path
    ),
    "parametrizations": lambda path, s, n: torch.save(files.parametrized(s), path),
    "safetensors": lambda path, s, n: save_file(s, path),
    "safetensors, generation 2": lambda path, s, n: save_file(files.by_layer(s, n), path),
    "NeMo": lambda path, s, n: files.write_nemo(path, s),
    "NeMo, uncompressed": lambda path, s, n: files.write_nemo(path, s, mode="w"),
}

VARIANTS = {
    "as small as it gets": {"n_flows": 1, "n_early_every": 1, "n_group": 2, "n_layers": 1},
    "one early output": {"n_flows": 6, "n_group": 4, "n_early_every": 4},
    "group of 16": {"n_flows": 5, "n_group": 16, "n_early_every": 2, "n_early_size": 4},
    "no early output": {"n_flows": 4, "n_early_every": 4},
    "five layers": {"n_layers": 5},
    "kernel of 5": {"kernel_size": 5},
    "early output every time": {"n_flows": 4, "n_group": 8, "n_early_every": 1},
}


def same_function(ours, theirs):
    """Both models map the same audio to the same latent, and back."""
    mel = torch.randn(2, theirs.mel_config.n_mels, 3)
    audio = 0.1 * torch.randn(2, 2 * theirs.mel_config.hop_length)
    with torch.no_grad():
        (z, log_det), (expected, expected_log_det) = ours(audio, mel), theirs(audio, mel)
        torch.testing.assert_close(z, expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(log_det, expected_log_det, rtol=1e-5, atol=1e-3)
        torch.testing.assert_close(ours.inverse(z, mel), theirs.inverse(z, mel), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", FORMATS)
def test_every_form_becomes_the_same_model(tmp_path, form):
    state, model = files.small_state()
    FORMATS[form](tmp_path / "source", state, model.config.n_layers)
    report = convert(tmp_path / "source", tmp_path / "native")
    assert sorted(os.listdir(tmp_path)) == ["native", "source"]
    assert report.generation == (1 if "generation 1" in form else 2 if "2" in form or "Deep" in form else 3)
    assert report.weight_norm == ("without weight norm" not in form)
    assert ("legacy" in report.format, "object" in report.format) == ("legacy" in form, "object" in form)
    loaded = load(tmp_path / "native")
    if "NeMo" not in form:
        assert loaded.config == model.config
    same_function(loaded, model)
    if report.weight_norm:
        ours = to_nvidia_state_dict(loaded)
        assert all(torch.equal(ours[key], state[key]) for key in state)


@pytest.mark.parametrize("container", ["object, generation 1, legacy", "state dict without weight norm"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_config_is_read_off_the_shapes(tmp_path, variant, container):
    state, model = files.small_state(**VARIANTS[variant])
    FORMATS[container](tmp_path / "source.pt", state, model.config.n_layers)
    convert(tmp_path / "source.pt", tmp_path / "native")
    loaded = load(tmp_path / "native")
    assert loaded.config == model.config
    same_function(loaded, model)


def test_another_rate_and_hop_are_taken_as_told(tmp_path):
    mel = MelConfig.preset("nvidia", n_mels=7, sample_rate=16000, hop_length=200, win_length=800)
    state, model = files.small_state(mel=mel, n_group=8)
    torch.save(state, tmp_path / "source.pt")
    report = convert(tmp_path / "source.pt", tmp_path / "native", mel=mel)
    assert load(tmp_path / "native").config == model.config
    assert report.notes == []
    report = convert(tmp_path / "source.pt", tmp_path / "guess", sample_rate=16000)
    assert report.config["mel"]["hop_length"] == 256
    assert "a hop of 200; 256 was assumed" in report.notes[0]
    report = convert(tmp_path / "source.pt", tmp_path / "told", sample_rate=16000, hop_length=200, sigma=0.9)
    assert report.notes == []
    config = load(tmp_path / "told").config
    assert (config.mel.sample_rate, config.mel.hop_length, config.sigma) == (16000, 200, 0.9)


def test_a_mel_of_other_bands_or_no_mel_is_refused(tmp_path):
    torch.save(files.small_state()[0], tmp_path / "source.pt")
    for mel, message in (
        (MelConfig.preset("nvidia"), "takes mels of 5 bands, but mel has n_mels=80"),
        ("nvidiaa", "did you mean 'nvidia'"),
        ({"hop": 256}, "hop"),
    ):
        with pytest.raises(ValueError, match=message):
            convert(tmp_path / "source.pt", tmp_path / "native", mel=mel)
    with pytest.raises(CheckpointError, match="multiple of n_group"):
        convert(tmp_path / "source.pt", tmp_path / "native", hop_length=255)
    assert os.listdir(tmp_path) == ["source.pt"]


def glow_old(state, z, mel):
    """Synthesis of the earliest release, from `z` as channels: odd flows change the first half."""
    conv = lambda name, x, **k: F.conv1d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **k)  # noqa: E731
    n_group = state["convinv.0.conv.weight"].shape[0]
    told = F.conv_transpose1d(mel, state["upsample.weight"], state["upsample.bias"], stride=256)[..., :-768]
    told = told.unflatten(2, (-1, n_group)).transpose(2, 3).flatten(1, 2)
    n_flows = sum(key.startswith("convinv.") for key in state)
    width = state[f"convinv.{n_flows - 1}.conv.weight"].shape[0]
    early, x = z[:, : n_group - width], z[:, n_group - width :]
    for k in reversed(range(n_flows)):
        halves = x.chunk(2, dim=1)
        a, b = halves if k % 2 == 0 else halves[::-1]
        h, out = conv(f"WN.{k}.start", a), 0
        n_layers = sum(key.startswith(f"WN.{k}.skip_layers.") and key.endswith("weight") for key in state)
        for i in range(n_layers):
            gates = conv(f"WN.{k}.in_layers.{i}", h, dilation=2**i, padding=2**i) + conv(
                f"WN.{k}.cond_layers.{i}", told
            )
            tanh, sigmoid = gates.chunk(2, dim=1)
            acts = torch.tanh(tanh) * torch.sigmoid(sigmoid)
            h = h + conv(f"WN.{k}.res_layers.{i}", acts) if i < n_layers - 1 else h
            out = out + conv(f"WN.{k}.skip_layers.{i}", acts)
        t, log_s = conv(f"WN.{k}.end", out).chunk(2, dim=1)
        b = (b - t) / torch.exp(log_s)
        x = torch.cat([a, b] if k % 2 == 0 else [b, a], dim=1)
        x = F.conv1d(x, torch.linalg.inv(state[f"convinv.{k}.conv.weight"][..., 0])[..., None])
        if k > 0 and (more := state[f"convinv.{k - 1}.conv.weight"].shape[0] - x.shape[1]):
            early, x = early[:, :-more], torch.cat([early[:, -more:], x], dim=1)
    return x.transpose(1, 2).flatten(1)


@torch.no_grad()
def test_the_earliest_release_swaps_halves_when_told(tmp_path):
    state, model = files.small_state(n_flows=5, n_group=8)
    state = files.first_generation(state, model.config.n_layers)
    files.write_object(tmp_path / "waveglow_old.pt", state)
    report = convert(tmp_path / "waveglow_old.pt", tmp_path / "swapped", swap_halves=True)
    assert (report.config["swap_halves"], report.notes) == (True, [])
    report = convert(tmp_path / "waveglow_old.pt", tmp_path / "plain")
    assert "--swap-halves" in report.notes[0]
    z, mel = torch.randn(2, 8, 96), torch.randn(2, 5, 3)
    expected = glow_old(files.plain(state), z, mel)
    audio = load(tmp_path / "swapped").inverse(z.transpose(1, 2).flatten(1), mel)
    torch.testing.assert_close(audio, expected, rtol=1e-4, atol=1e-5)
    other = load(tmp_path / "plain").inverse(z.transpose(1, 2).flatten(1), mel)
    assert (other - expected).abs().max() > 0.01


GOLDEN_FILES = ["object", "object_legacy_format", "object_pre_convert", "state_dict_module"]


@pytest.mark.parametrize("form", GOLDEN_FILES)
@torch.no_grad()
def test_golden_checkpoints_convert_to_the_reference_s_latent_and_audio(tmp_path, form):
    convert(shared(f"goldens/waveglow_ckpt_{form}.pt"), tmp_path / "native")
    model = load(tmp_path / "native")
    state, tensors, metadata = golden("waveglow_ckpt")
    converted = to_nvidia_state_dict(model)
    assert converted.keys() == state.keys()
    assert all(torch.equal(converted[key], state[key]) for key in state)
    z, _ = model(tensors["forward.audio"], tensors["forward.mel"])
    channels = z.view(1, -1, model.n_group).transpose(1, 2)
    assert distance(channels, tensors["forward.z"]) < GOLDEN_WAVEGLOW["z"]
    noise = torch.cat([tensors["infer.noise.1"], tensors["infer.noise.0"]], dim=1).transpose(1, 2).flatten(1)
    audio = model.inverse(float(metadata["sigma"]) * noise, tensors["infer.mel"])
    assert distance(audio, tensors["infer.audio"]) < GOLDEN_WAVEGLOW["audio"]


@pytest.mark.parametrize("name", ["waveglow_small", "waveglow_small_no_weight_norm", "waveglow_ckpt_no_weight_norm"])
@torch.no_grad()
def test_golden_state_dicts_convert_to_the_reference_s_latent(tmp_path, name):
    state, tensors, _ = golden(name)
    save_file(state, tmp_path / "source.safetensors")
    convert(tmp_path / "source.safetensors", tmp_path / "native")
    model = load(tmp_path / "native")
    z, _ = model(tensors["forward.audio"], tensors["forward.mel"])
    channels = z.view(z.shape[0], -1, model.n_group).transpose(1, 2)
    assert distance(channels, tensors["forward.z"]) < GOLDEN_WAVEGLOW["z"]


def test_a_model_of_another_kind_is_refused_as_such(tmp_path):
    torch.save(torch.nn.LSTM(2, 3).state_dict(), tmp_path / "source.pt")
    with pytest.raises(CheckpointError, match="is no WaveGlow"):
        convert(tmp_path / "source.pt", tmp_path / "native")
    assert os.listdir(tmp_path) == ["source.pt"]


def test_the_report_and_the_checkpoint_say_where_it_came_from_and_what_was_proved(tmp_path):
    state, _ = files.small_state()
    torch.save({"model": state, **EXTRAS}, tmp_path / "source.pt")
    report = convert(tmp_path / "source.pt", tmp_path / "native")
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()
    assert report.facts == {"iteration": 7, "learning_rate": 1e-4}
    assert report.proof.round_trip_float64 < 1e-12 < report.proof.round_trip_float32 < 1e-4
    assert report.proof.jacobian_error < 1e-12
    kept = read_facts(tmp_path / "native")["metadata"]["converted_from"]
    assert (kept["source"], kept["source_sha256"]) == ("source.pt", report.source_sha256)
    assert kept["proof"] == report.to_dict()["proof"]


def test_half_precision_weights_are_read_and_written(tmp_path):
    state, _ = files.small_state()
    halves = {key: value.half() for key, value in state.items()}
    torch.save(halves, tmp_path / "source.pt")
    report = convert(tmp_path / "source.pt", tmp_path / "native", dtype=torch.float16)
    assert report.source_dtype == "float16"
    ours = to_nvidia_state_dict(load(tmp_path / "native"))
    assert all(torch.equal(ours[key], value.float()) for key, value in halves.items())
    assert (tmp_path / "native" / "model.safetensors").stat().st_size < 80_000 < 4 * 25_000


def test_a_zero_row_without_weight_norm_stays_zero(tmp_path):
    state = files.plain(files.small_state()[0])
    state["WN.0.start.weight"][1] = 0
    torch.save(state, tmp_path / "source.pt")
    convert(tmp_path / "source.pt", tmp_path / "native")
    weight = load(tmp_path / "native").flow.steps[1].steps[0].steps[1].conditioner.start.weight
    torch.testing.assert_close(weight, state["WN.0.start.weight"])


def test_weights_that_lose_their_input_in_single_precision_are_converted_with_a_note(tmp_path):
    state, _ = files.small_state()
    weight = state["convinv.0.conv.weight"]
    weight[0] = weight[1] + 1e-6 * weight[2].roll(1, dims=0)
    torch.save(state, tmp_path / "source.pt")
    report = convert(tmp_path / "source.pt", tmp_path / "native")
    assert report.proof.round_trip_float32 > 1e-3
    assert "the weights are ill-conditioned" in report.notes[0]
