"""The operations of the fused inverse: each a plain-PyTorch truth, and kernels of the same signature beside it."""

from waveflow.ops.dispatch import BACKENDS, implementation, unavailable

__all__ = ["BACKENDS", "implementation", "unavailable"]
