import pytest
import torch
from small_models import SMALL, small

from waveflow.inference import Vocoder


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
