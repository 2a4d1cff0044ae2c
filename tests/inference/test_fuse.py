import pytest
import torch

from waveflow.bijections import FixedLinear, InvertibleConv1x1
from waveflow.inference import fuse


def test_the_fused_model_computes_the_same_in_double_precision(model):
    model = model.double()
    fused = fuse(model)
    audio, mel = torch.randn(2, 2560, dtype=torch.float64), torch.randn(2, 80, 10, dtype=torch.float64)
    z, log_det = model(audio, mel)
    fused_z, fused_log_det = fused(audio, mel)
    torch.testing.assert_close(fused_z, z, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(fused_log_det, log_det, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(fused.inverse(z, mel), model.inverse(z, mel), rtol=1e-9, atol=1e-9)


def test_nothing_is_left_to_compute_twice_or_to_train(model):
    fused = fuse(model)
    assert not any(isinstance(m, InvertibleConv1x1) for m in fused.modules())
    assert any(isinstance(m, FixedLinear) for m in fused.modules())
    assert not [name for name, _ in fused.named_parameters() if "original" in name]
    assert not any(p.requires_grad for p in fused.parameters())


def test_the_original_keeps_its_parametrisation_and_its_gradients(model):
    names = [name for name, _ in model.named_parameters()]
    fuse(model)
    assert [name for name, _ in model.named_parameters()] == names
    assert all(p.requires_grad for p in model.parameters())


def test_a_negative_determinant_is_fused_rightly(model):
    layer = next(m for m in model.modules() if isinstance(m, InvertibleConv1x1))
    with torch.no_grad():
        layer.weight[0].neg_()
    model = model.double()
    assert torch.linalg.det(layer.weight) < 0
    audio, mel = torch.randn(1, 2560, dtype=torch.float64), torch.randn(1, 80, 10, dtype=torch.float64)
    z, log_det = fuse(model)(audio, mel)
    assert log_det.item() == pytest.approx(model(audio, mel)[1].item(), rel=1e-9)
    torch.testing.assert_close(model.inverse(z, mel), audio, rtol=1e-8, atol=1e-8)
