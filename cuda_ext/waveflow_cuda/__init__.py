"""CUDA C++ kernels of the operations in `waveflow.ops`, in modules of the same names; backend `cuda` takes them."""

__version__ = "0.1.0"
