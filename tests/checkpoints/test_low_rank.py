import pytest
import safetensors.torch
import torch
from torch import nn

import waveflow
from waveflow.checkpoints import CheckpointError, apply_adapter, fingerprint, load, read_adapter, save, save_adapter
from waveflow.inference.loading import find_checkpoint
from waveflow.models import build
from waveflow.nn import low_rank


@pytest.fixture
def base(tmp_path):
    model = build("lapglow", n_flows=2, n_channels=8, dilations=[1, 2])
    return save(model, tmp_path / "base")


@pytest.fixture
def voice(base, tmp_path):
    return write_voice(base, tmp_path / "voice.safetensors")


def write_voice(base, path, rank=2):
    model = load(base)
    identity = fingerprint(model)
    low_rank.attach(model, rank)
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.05)
    return save_adapter(path, low_rank.updates(model), identity, base_name="base", metadata={"speaker": "someone"})


def test_a_voice_loads_on_top_of_its_base(base, voice):
    mel = torch.randn(80, 8) - 5
    plain, adapted = waveflow.load(base, backend="reference"), waveflow.load(base, adapter=voice, backend="reference")
    model = load(base)
    apply_adapter(model, voice)
    unmerged = waveflow.Vocoder(model, backend="reference")
    torch.testing.assert_close(adapted(mel, seed=1), unmerged(mel, seed=1), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(adapted(mel, seed=1), plain(mel, seed=1))
    assert adapted.name == "base + voice"


def test_a_loaded_voice_can_be_saved_as_a_whole_model(base, voice, tmp_path):
    adapted = waveflow.load(base, adapter=voice)
    adapted.save(tmp_path / "whole")
    states = [model.state_dict() for model in (load(tmp_path / "whole"), adapted.model)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_whole_model_is_not_written_with_updates_that_it_would_lose(base, voice, tmp_path):
    model = load(base)
    apply_adapter(model, voice)
    with pytest.raises(CheckpointError, match="merge them first"):
        save(model, tmp_path / "whole")
    assert not (tmp_path / "whole").exists()
    low_rank.merge(model)
    save(model, tmp_path / "whole")


def test_facts_travel_with_the_voice(base, voice):
    _, facts = read_adapter(voice)
    assert facts["metadata"] == {"speaker": "someone"}
    assert facts["base"] == fingerprint(load(base))


def test_another_base_is_refused_by_name(voice, tmp_path):
    torch.manual_seed(1)
    other = save(build("lapglow", n_flows=2, n_channels=8, dilations=[1, 2]), tmp_path / "other")
    with pytest.raises(ValueError, match=r"made for the base base with fingerprint \w{12}, but .*other has"):
        waveflow.load(other, adapter=voice)


def test_other_settings_make_another_base():
    models = []
    for sigma in (0.8, 0.7):
        torch.manual_seed(0)
        models.append(build("lapglow", n_flows=1, n_channels=8, dilations=[1], sigma=sigma))
    assert fingerprint(models[0]) != fingerprint(models[1])


def test_precision_on_disk_does_not_change_the_identity_of_the_same_values(base, tmp_path):
    half = save(load(base), tmp_path / "half", dtype=torch.float16)
    again = save(load(half), tmp_path / "again")
    assert fingerprint(load(half)) == fingerprint(load(again)) != fingerprint(load(base))


def test_the_file_of_a_voice_on_the_bundled_model_is_under_a_megabyte(tmp_path):
    from waveflow.training.finetune import ADAPTER_DEFAULTS

    rank = next(int(text.partition("=")[2]) for text in ADAPTER_DEFAULTS if text.startswith("finetune.rank"))
    path = write_voice(find_checkpoint(None), tmp_path / "voice.safetensors", rank)
    assert path.stat().st_size < 1_000_000


def test_what_is_no_adapter_is_refused(base, tmp_path):
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(CheckpointError, match="cannot read"):
        read_adapter(tmp_path / "text")
    with pytest.raises(CheckpointError, match="cannot read"):
        read_adapter(tmp_path / "missing")
    with pytest.raises(CheckpointError, match="is no adapter"):
        read_adapter(base / "model.safetensors")


def test_a_truncated_voice_is_refused(voice):
    voice.write_bytes(voice.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="cannot read"):
        read_adapter(voice)


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        ({"metadata": "{"}, "its metadata is no JSON"),
        ({"metadata": "[" * 100_000}, "its metadata is no JSON"),
        ({"metadata": "[1]"}, "its metadata is a list, expected a dict"),
        ({"metadata": None}, "its facts lack metadata"),
        ({"base": None}, "its facts lack base"),
        ({"base_name": None}, "its facts lack base_name"),
    ],
)
def test_damaged_facts_are_refused(base, voice, spoiled, message):
    with safetensors.safe_open(voice, "pt") as file:
        facts = {key: value for key, value in {**file.metadata(), **spoiled}.items() if value is not None}
    tensors, _ = read_adapter(voice)
    safetensors.torch.save_file(tensors, voice, metadata=facts)
    with pytest.raises(CheckpointError, match=rf"voice\.safetensors is truncated or damaged: {message}"):
        waveflow.load(base, adapter=voice)


def test_updates_that_are_not_finite_are_neither_written_nor_read(voice, tmp_path):
    with pytest.raises(CheckpointError, match="NaN"):
        save_adapter(tmp_path / "bad.safetensors", {"a.by": torch.tensor([torch.nan])}, "base")
    tensors, facts = read_adapter(voice)
    tensors[next(iter(tensors))].fill_(torch.inf)
    facts["metadata"] = "{}"
    safetensors.torch.save_file(tensors, voice, metadata=facts)
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        read_adapter(voice)


def test_an_adapter_for_other_shapes_is_refused(base, tmp_path):
    path = save_adapter(tmp_path / "odd.safetensors", {"nowhere.by": torch.zeros(2)}, fingerprint(load(base)))
    with pytest.raises(CheckpointError, match="does not fit its base"):
        waveflow.load(base, adapter=path)
