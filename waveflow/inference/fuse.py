"""Turn a trained model into a copy that does nothing twice."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils import parametrize

from waveflow.bijections import FixedLinear, InvertibleConv1x1
from waveflow.bijections.base import Bijection
from waveflow.nn.modules import parametrizations
from waveflow.nn.separable import SeparableConv

Model = TypeVar("Model", bound=Bijection)


def fuse(model: Model) -> Model:
    """Return an inference copy of `model`: weight and batch norm folded into plain weights, every 1x1
    inverted once.

    The copy is in eval mode, has no trainable parameters, and shares nothing with the original: a later change of the
    model's weights does not reach it, fuse again. Inverses are computed in float64.
    """
    fused = copy.deepcopy(model).eval()
    for module in list(fused.modules()):
        if parametrize.is_parametrized(module):
            _make_plain(module)
    for parent in list(fused.modules()):
        for name, child in parent.named_children():
            if isinstance(child, InvertibleConv1x1):
                setattr(parent, name, _fixed(child))
            elif isinstance(child, SeparableConv):
                setattr(parent, name, child.folded())
    return fused.requires_grad_(False)


@torch.no_grad()
def _make_plain(module: nn.Module) -> None:
    # A copy shares its parametrised class with the original, from which remove_parametrizations would take the weight.
    values = {name: getattr(module, name).clone() for name in parametrizations(module)}
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module.parametrizations
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value))


@torch.no_grad()
def _fixed(layer: InvertibleConv1x1) -> nn.Module:
    weight = layer.matrix().detach().clone()
    return FixedLinear(weight, layer.inverse_matrix(), layer.double().log_abs_det().item())
