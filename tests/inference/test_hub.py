import pytest
import torch
from small_models import small

pytest.importorskip("huggingface_hub", reason="needs the extra waveflow[hub]")

import huggingface_hub

from waveflow.checkpoints import native
from waveflow.inference import load
from waveflow.inference.hub import HubVocoder

METADATA = {"data": "LJSpeech", "pesq": 2.83}


@pytest.fixture
def saved(tmp_path):
    vocoder = HubVocoder(small("lapglow"), metadata=METADATA)
    vocoder.save_pretrained(tmp_path / "mine")
    return vocoder, tmp_path / "mine"


def test_a_directory_gives_the_vocoder_back_offline(saved):
    vocoder, directory = saved
    again = HubVocoder.from_pretrained(directory, device="cpu")
    mel = torch.randn(80, 6) - 5
    assert torch.equal(again(mel, seed=1), vocoder(mel, seed=1))
    assert again.metadata == METADATA
    assert again.name == "mine"
    assert torch.equal(load(directory, device="cpu")(mel, seed=1), vocoder(mel, seed=1))


@pytest.mark.parametrize(("option", "told"), [("bakend", "did you mean 'backend'"), ("metadata", "valid: backend")])
def test_an_unknown_option_is_refused(saved, option, told):
    with pytest.raises(ValueError, match=f"unknown option of from_pretrained '{option}'; {told}"):
        HubVocoder.from_pretrained(saved[1], **{option: "reference"})


def test_known_options_reach_the_vocoder_and_the_mixin(saved):
    options = {"backend": "reference", "dtype": torch.float64, "local_files_only": True}
    again = HubVocoder.from_pretrained(saved[1], device="cpu", **options)
    assert (again.backend, again.dtype) == ("reference", torch.float64)


def test_the_card_tells_config_and_metadata_and_a_card_of_ones_own_stays(saved):
    vocoder, directory = saved
    card = huggingface_hub.ModelCard.load(directory / "README.md")
    assert card.data.library_name == "waveflow"
    assert "lapglow" in card.data.tags
    for fact in ("22050 Hz", "| `hop_length` | 256 |", "| `n_flows` | 2 |", '"pesq": 2.83'):
        assert fact in card.content
    (directory / "README.md").write_text("mine")
    vocoder.save_pretrained(directory)
    assert (directory / "README.md").read_text() == "mine"
    assert native.read_facts(directory)["metadata"] == METADATA
    assert sorted(p.name for p in directory.iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_pushing_uploads_a_loadable_checkpoint_with_its_card(saved, monkeypatch):
    vocoder, _ = saved
    pushed = {}

    def upload_folder(self, *, repo_id, folder_path, **_):
        pushed.update(repo=repo_id, files={p.name for p in folder_path.iterdir()}, model=native.load(folder_path))

    monkeypatch.setattr(
        huggingface_hub.HfApi,
        "create_repo",
        lambda self, repo_id, **_: huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}"),
    )
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    vocoder.push_to_hub("someone/lapglow")
    assert pushed["repo"] == "someone/lapglow"
    assert pushed["files"] == {"README.md", "config.json", "model.safetensors"}
    for name, value in vocoder.model.state_dict().items():
        assert torch.equal(value, pushed["model"].state_dict()[name])
