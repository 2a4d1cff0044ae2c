import errno
import hashlib
import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from waveglow_files import random_waveglow

from waveflow.checkpoints import CheckpointError, load, read_facts, save
from waveflow.checkpoints.native import read_mel_config
from waveflow.models import build


def small(name):
    if name == "waveglow":
        return random_waveglow()
    return build(name, n_flows=1, n_channels=8, dilations=[1], mel={"n_fft": 64, "win_length": 64, "hop_length": 16})


def contents(directory):
    return {str(p.relative_to(directory)): p.is_file() and p.read_bytes() for p in directory.rglob("*")}


def edit_config(directory, **changes):
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(directory, edit):
    """Change the weights and keep the checksum true, as a careless tool would."""
    path = directory / "model.safetensors"
    weights = load_file(path)
    edit(weights)
    save_file(weights, path)
    edit_config(directory, weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture
def checkpoint(tmp_path):
    return save(small("waveglow"), tmp_path / "model")


@pytest.mark.parametrize("name", ["waveglow", "lapglow"])
def test_a_model_comes_back_bit_for_bit_and_in_eval_mode(tmp_path, name):
    model = small(name).train()
    loaded = load(save(model, tmp_path / "deep" / "model", metadata={"steps": 3}))
    assert type(loaded) is type(model)
    assert loaded.config == model.config
    assert not loaded.training
    ours, theirs = loaded.state_dict(), model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert read_facts(tmp_path / "deep" / "model")["metadata"] == {"steps": 3}
    assert sorted(os.listdir(tmp_path / "deep")) == ["model"]


def test_half_precision_on_disk_loads_as_float32(tmp_path, checkpoint):
    model = small("waveglow")
    halved = save(model, tmp_path / "half", dtype=torch.float16)
    assert (halved / "model.safetensors").stat().st_size < 0.6 * (checkpoint / "model.safetensors").stat().st_size
    loaded = load(halved)
    for key, value in loaded.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, model.state_dict()[key].half().float())


def test_float64_weights_survive_a_float64_load(tmp_path):
    model = small("lapglow").double()
    model.load_state_dict({key: value + 1e-12 for key, value in model.state_dict().items()})
    loaded = load(save(model, tmp_path / "model"), dtype=torch.float64)
    assert all(torch.equal(loaded.state_dict()[key], value) for key, value in model.state_dict().items())


def test_loading_leaves_the_random_state_alone(checkpoint):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load(checkpoint)
    assert torch.equal(torch.rand(3), expected)


def test_saving_again_replaces_the_checkpoint_and_nothing_else(tmp_path, checkpoint):
    model = small("waveglow")
    model.upsample.conv.bias.data += 1
    before = (checkpoint / "model.safetensors").read_bytes()
    save(model, checkpoint)
    assert torch.equal(load(checkpoint).upsample.conv.bias, model.upsample.conv.bias)
    assert (checkpoint / "model.safetensors").read_bytes() != before
    assert os.listdir(tmp_path) == ["model"]


def test_a_symbolic_link_to_a_checkpoint_stays_one(tmp_path, checkpoint):
    link = tmp_path / "latest"
    link.symlink_to(checkpoint)
    save(small("lapglow"), link)
    assert link.is_symlink()
    assert read_facts(checkpoint)["model"] == "lapglow"


def spoil_weights(model):
    model.upsample.conv.bias.data[0] = float("nan")
    return {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (spoil_weights, "upsample.conv.bias has NaN"),
        (
            lambda model: model.upsample.conv.bias.data.fill_(1e6) is None or {"dtype": torch.float16},
            "more than torch.float16",
        ),
        (lambda _: {"metadata": {"loss": float("nan")}}, "JSON"),
        (lambda _: {"metadata": {"config": object()}}, "JSON"),
    ],
)
def test_what_cannot_be_saved_leaves_the_checkpoint_intact(tmp_path, checkpoint, options, message):
    before = contents(tmp_path)
    model = small("waveglow")
    with pytest.raises(CheckpointError, match=message):
        save(model, checkpoint, **options(model))
    assert contents(tmp_path) == before


def test_a_full_disk_leaves_the_checkpoint_intact(tmp_path, checkpoint):
    before = contents(tmp_path)
    script = (
        "import resource, sys; from waveflow.checkpoints import save; from waveflow.models import build\n"
        "model = build('lapglow', n_flows=1, n_channels=8, dilations=[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "save(model, sys.argv[1])\n"
    )
    run = subprocess.run([sys.executable, "-c", script, str(checkpoint)], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "CheckpointError: cannot write" in run.stderr
    assert "free some space" in run.stderr
    assert contents(tmp_path) == before


def test_no_space_left_is_said_as_such(tmp_path, monkeypatch):
    def no_space(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(CheckpointError, match="No space left on device"):
        save(small("waveglow"), tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_a_read_only_place_is_named(tmp_path):
    place = tmp_path / "locked"
    place.mkdir()
    place.chmod(0o555)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)  # root may write anywhere
        with pytest.raises(CheckpointError, match="Permission denied"):
            save(small("waveglow"), place / "model")
    finally:
        os.seteuid(user)
    assert os.listdir(place) == []


def test_a_file_or_a_directory_of_other_things_is_not_replaced(tmp_path, checkpoint):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CheckpointError, match="is a file"):
        save(small("waveglow"), tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"cannot write"):
        save(small("waveglow"), tmp_path / "file" / "model")
    (checkpoint / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"holds notes\.txt"):
        save(small("waveglow"), checkpoint)
    assert (checkpoint / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "config.json").unlink(), r"cannot read .*config\.json: No such file"),
        (lambda d: (d / "model.safetensors").unlink(), r"cannot read .*model\.safetensors: No such file"),
        (lambda d: (d / "config.json").write_text("{"), "is not JSON"),
        (lambda d: (d / "config.json").write_bytes(b"\xff\xfe\x00"), "is not JSON"),
        (lambda d: (d / "config.json").write_text("[" * 100_000), "is not JSON"),
        (lambda d: (d / "config.json").write_text("[]"), "not the config of a waveflow checkpoint"),
        (lambda d: edit_config(d, format="other"), "waveflow convert"),
        (lambda d: edit_config(d, format_version=99), "format_version 99, waveflow .* reads 1"),
        (lambda d: edit_config(d, model="tacotron"), "names the model 'tacotron'"),
        (lambda d: edit_config(d, model=["waveglow"]), "expected a str"),
        (lambda d: edit_config(d, config=None), "config=None, expected a dict"),
        (lambda d: edit_config(d, config={"n_flow": 4}), "did you mean 'n_flows'"),
        (lambda d: edit_config(d, config={"n_flows": "four"}), "does not describe a model"),
        (lambda d: edit_config(d, config={"n_channels": 2**40}), "does not describe a model"),
        (lambda d: edit_config(d, config={"mel": {"n_mels": -1}}), "does not describe a model"),
        (lambda d: edit_config(d, config={}), "model.safetensors lacks"),
        (lambda d: edit_config(d, weights_sha256="0" * 64), "SHA-256"),
        (lambda d: edit_weights(d, lambda w: w.pop("upsample.conv.bias")), "lacks upsample.conv.bias"),
        (lambda d: edit_weights(d, lambda w: w.update(more=torch.ones(1))), "has more, not in the model"),
        (
            lambda d: edit_weights(d, lambda w: w.update({"upsample.conv.bias": torch.ones(4)})),
            r"upsample.conv.bias of shape \(4,\), the model of config.json expects \(5,\)",
        ),
        (
            lambda d: edit_weights(d, lambda w: w.update({"upsample.conv.bias": torch.ones(5, dtype=torch.int32)})),
            "torch.int32, expected torch.float32",
        ),
        (lambda d: edit_weights(d, lambda w: w["upsample.conv.bias"].fill_(float("inf"))), "NaN or infinite"),
    ],
)
def test_a_damaged_checkpoint_is_refused_with_the_reason(checkpoint, spoil, message):
    spoil(checkpoint)
    with pytest.raises(CheckpointError, match=message):
        load(checkpoint)


def test_the_mel_contract_is_read_without_the_weights(checkpoint):
    expected = load(checkpoint).mel_config
    (checkpoint / "model.safetensors").unlink()
    assert read_mel_config(checkpoint) == expected


@pytest.mark.parametrize("config", [{"mel": {"n_mels": -1}}, {"mel": 5}, {"mel": None}, {"n_flow": 4}])
def test_a_damaged_mel_contract_is_refused_with_the_reason(checkpoint, config):
    edit_config(checkpoint, config=config)
    with pytest.raises(CheckpointError, match="does not describe a model"):
        read_mel_config(checkpoint)


def test_truncated_weights_are_refused_at_any_length(checkpoint):
    path = checkpoint / "model.safetensors"
    data = path.read_bytes()
    for length in [0, 1, 7, 8, 9, 100, len(data) // 2, len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=r"model\.safetensors is truncated"):
            load(checkpoint)


def test_a_flipped_bit_anywhere_in_the_weights_is_noticed(checkpoint):
    path = checkpoint / "model.safetensors"
    data = path.read_bytes()
    for position in torch.randint(len(data), (40,)).tolist():
        flipped = bytearray(data)
        flipped[position] ^= 1 << (position % 8)
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError):
            load(checkpoint)


def test_weights_that_are_a_pickle_are_refused_unread(checkpoint):
    (checkpoint / "model.safetensors").write_bytes(b"cos\nsystem\n(S'echo'\ntR.")
    with pytest.raises(CheckpointError, match="no safetensors file"):
        load(checkpoint)


def test_a_lapglow_from_before_there_was_an_encoder_has_none(tmp_path):
    model = build("lapglow", n_flows=1, n_channels=8, dilations=[1], n_encoded=0)
    save(model, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    facts = json.loads(path.read_text())
    del facts["config"]["n_encoded"], facts["config"]["n_encoder_blocks"]
    path.write_text(json.dumps(facts))
    assert load(tmp_path / "model").encoder is None
    assert read_facts(tmp_path / "model")["config"]["n_encoded"] == 0
