"""Conversion of SqueezeWave, WaveFlow and FloWaveNet: proved, noted, and refused where unsound."""

import json
import pickle

import foreign_states
import numpy as np
import pytest
import torch
from conftest import shared
from goldens import distance, golden
from tolerances import GOLDEN_FLOWAVENET, GOLDEN_SQUEEZEWAVE, GOLDEN_WAVEFLOW

from waveflow.checkpoints import CheckpointError, convert, load

MAKERS = {
    "squeezewave": (foreign_states.squeezewave, {}),
    "squeezewave-folded": (lambda: foreign_states.squeezewave(folded=True), {}),
    "waveflow": (foreign_states.l0sg, {"n_group": 8}),
    "flowavenet": (foreign_states.flowavenet, {}),
    "flowavenet-additive": (lambda: foreign_states.flowavenet(affine=False), {}),
    "flowavenet-unsplit": (lambda: foreign_states.flowavenet(per_split=9), {}),
}
every = pytest.mark.parametrize("kind", MAKERS)


def plain(state):
    """Without weight norm."""
    found = {}
    for key, value in state.items():
        if key.endswith("weight_v"):
            length = state[key[:-1] + "g"]
            found[key.removesuffix("_v")] = length * value / value.flatten(1).norm(dim=1).view_as(length)
        elif not key.endswith("weight_g"):
            found[key] = value
    return found


@every
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("weight_norm", [True, False])
def test_state_dict_converts_and_is_proved_to_be_a_flow(tmp_path, kind, prefix, weight_norm):
    make, options = MAKERS[kind]
    state = make() if weight_norm else plain(make())
    torch.save({"state_dict": {prefix + key: value for key, value in state.items()}}, tmp_path / "source.pt")
    report = convert(tmp_path / "source.pt", tmp_path / "native", options=options, sigma=0.5)
    assert report.model == kind.split("-")[0]
    assert report.weight_norm == weight_norm
    assert report.proof.round_trip_float64 < 1e-10
    model = load(tmp_path / "native")
    assert model.config.sigma == 0.5
    assert model.config.mel.n_mels == 5
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()


@every
def test_weight_norm_makes_no_difference_to_the_latent(tmp_path, kind):
    make, options = MAKERS[kind]
    state, latents = make(), []
    for i, form in enumerate((state, plain(state))):
        torch.save(form, tmp_path / f"{i}.pt")
        convert(tmp_path / f"{i}.pt", tmp_path / f"{i}", options=options)
        model = load(tmp_path / f"{i}")
        torch.manual_seed(0)
        latents.append(model(torch.randn(1, 512), torch.randn(1, 5, 2))[0])
    assert distance(*latents) < 1e-4


@every
def test_missing_strange_misshapen_and_infinite_weights_are_refused_by_name(tmp_path, kind):
    make, options = MAKERS[kind]
    state = make()
    key = next(key for key in state if key.endswith(("end.bias", "final_conv.3.conv.bias", "proj_log_s_t.conv.bias")))
    spoiled = {
        f"lacks {key}": {k: v for k, v in state.items() if k != key},
        "strange": {**state, "strange.weight": torch.ones(3)},
        f"has {key} of shape": {**state, key: torch.ones(len(state[key]) + 1)},
        f"NaN or infinite values in {key}": {**state, key: torch.full_like(state[key], torch.nan)},
    }
    for message, bad in spoiled.items():
        torch.save(bad, tmp_path / "source.pt")
        with pytest.raises(CheckpointError, match=message.replace(".", r"\.")):
            convert(tmp_path / "source.pt", tmp_path / "native", options=options)
    assert not (tmp_path / "native").exists()


def test_what_no_weight_tells_is_noted_and_can_be_said(tmp_path):
    torch.save(foreign_states.l0sg(), tmp_path / "source.pt")
    report = convert(tmp_path / "source.pt", tmp_path / "native")
    assert "n_group=16, n_layers_per_cycle=1, permutation='bipartite'" in report.notes[0]
    options = {"n_group": 8, "n_layers_per_cycle": 2, "permutation": "reverse"}
    convert(tmp_path / "source.pt", tmp_path / "other", options=options)
    config = load(tmp_path / "other").config
    assert {key: getattr(config, key) for key in options} == options


def test_an_option_that_the_weights_tell_is_refused(tmp_path):
    torch.save(foreign_states.l0sg(), tmp_path / "source.pt")
    with pytest.raises(ValueError, match=r"n_flows was given for .*leave only \['n_group', "):
        convert(tmp_path / "source.pt", tmp_path / "native", options={"n_flows": 4})
    torch.save(foreign_states.squeezewave(), tmp_path / "source.pt")
    with pytest.raises(ValueError, match=r"swap_halves was given for .*leave only nothing open"):
        convert(tmp_path / "source.pt", tmp_path / "native", swap_halves=True)


@pytest.mark.parametrize("value", [0, -1, "many", 1.5])
def test_an_option_that_is_no_such_number_is_refused(tmp_path, value):
    torch.save(foreign_states.l0sg(), tmp_path / "source.pt")
    for option in ("n_group", "n_layers_per_cycle"):
        with pytest.raises(ValueError, match=f"{option} is .*, expected a whole number of at least 1"):
            convert(tmp_path / "source.pt", tmp_path / "native", options={option: value})


@pytest.mark.parametrize("sigma", [-1.0, float("nan"), float("inf")])
def test_a_temperature_that_no_synthesis_takes_is_refused(tmp_path, sigma):
    torch.save(foreign_states.l0sg(), tmp_path / "source.pt")
    with pytest.raises(ValueError, match=r"sigma is .*, expected a number of at least 0"):
        convert(tmp_path / "source.pt", tmp_path / "native", sigma=sigma)


def test_paddle_parameters_convert(tmp_path):
    arrays = {"decoder.0.output_proj.weight": np.zeros((2, 4, 1, 1), "float32")}
    (tmp_path / "source.pdparams").write_bytes(pickle.dumps(arrays))
    with pytest.raises(CheckpointError, match=r"lacks .*front_conv"):
        convert(tmp_path / "source.pdparams", tmp_path / "native")


def test_mel_contract_is_the_project_s_own_unless_given(tmp_path):
    for make, f_min in ((foreign_states.flowavenet, 125.0), (foreign_states.squeezewave, 0.0)):
        torch.save(make(), tmp_path / "source.pt")
        report = convert(tmp_path / "source.pt", tmp_path / "native", overwrite=True)
        assert report.config["mel"]["f_min"] == f_min


def latent(noise, metadata):
    return float(metadata["temp"]) * noise


def test_golden_squeezewave_object_converts_to_the_reference_s_audio(tmp_path):
    _, tensors, metadata = golden("squeezewave_small_a128")
    report = convert(shared("goldens/squeezewave_small_a128_object.pt"), tmp_path / "native")
    assert "pickled glow.SqueezeWave object" in report.format
    assert report.facts["iteration"] == 1000
    noise = torch.cat([float(metadata["sigma"]) * tensors["infer.noise.1"], tensors["infer.noise.0"]], dim=1)
    audio = load(tmp_path / "native").inverse(noise.transpose(1, 2).flatten(1), tensors["infer.mel"])
    assert distance(audio, tensors["infer.audio"]) < GOLDEN_SQUEEZEWAVE["audio"]


def test_golden_waveflow_checkpoint_converts_to_the_reference_s_audio(tmp_path):
    _, tensors, metadata = golden("waveflow_small_h8_bipartize")
    source = shared("goldens/waveflow_small_h8_bipartize_checkpoint.pt")
    convert(source, tmp_path / "native", options={"n_group": 8})
    noise = latent(tensors["reverse.noise.0"][:, 0].transpose(1, 2).flatten(1), metadata)
    audio = load(tmp_path / "native").inverse(noise, tensors["reverse.mel"])
    assert distance(audio, tensors["reverse.audio"]) < GOLDEN_WAVEFLOW["audio"]


def test_golden_flowavenet_checkpoint_converts_to_the_reference_s_audio(tmp_path):
    _, tensors, metadata = golden("flowavenet_small")
    convert(shared("goldens/flowavenet_small_checkpoint.pt"), tmp_path / "native")
    audio = load(tmp_path / "native").inverse(
        latent(tensors["reverse.noise.0"][:, 0], metadata), tensors["reverse.mel"]
    )
    assert distance(audio, tensors["reverse.audio"][:, 0]) < GOLDEN_FLOWAVENET["audio"]
