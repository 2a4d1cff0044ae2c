import pytest
import torch
from small_models import SMALL, small

from waveflow.inference import Vocoder, deferred
from waveflow.models.cost import count_parameters


@pytest.fixture(params=sorted(SMALL))
def model(request):
    return small(request.param)


@pytest.fixture(params=["reference", "onednn"])
def vocoder(model, request):
    return Vocoder(model, backend=request.param)


@pytest.fixture
def audio():
    t = torch.arange(22050) / 22050
    return 0.3 * torch.sin(2 * torch.pi * 220 * t) * torch.sin(torch.pi * t) + 0.01 * torch.randn(22050)


@pytest.fixture
def fast_pays_after(monkeypatch):
    """Let `auto` on a CPU take the fast inverse of a model once the plain one was asked for so many samples."""

    def set_up(n_samples, model):
        # A sample is then a second of the plain inverse's work.
        work = count_parameters(model) / model.n_group
        monkeypatch.setattr(deferred, "PLAIN_RATE", work / torch.get_num_threads())
        monkeypatch.setattr(deferred, "PREPARATION", n_samples)
        monkeypatch.setattr(deferred, "PREPARATION_OF_A_PARAMETER", 0.0)

    return set_up
