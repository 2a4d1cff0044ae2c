"""Build the kernels with nvcc into one shared library; PyTorch is not needed for it.

Environment: NVCC, the compiler (else the one on the path or under CUDA_HOME); WAVEFLOW_CUDA_ARCHS, the devices as in
`80;90` (else that of the device at hand, if nvidia-smi names one, or both of these).
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent


def compiler() -> str:
    at_home = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "bin" / "nvcc"
    found = os.environ.get("NVCC") or shutil.which("nvcc") or (str(at_home) if at_home.exists() else None)
    if found is None:
        raise SystemExit("nvcc was not found, which compiles the kernels; install the CUDA toolkit, or set NVCC to it")
    return found


def architectures() -> list[str]:
    if "WAVEFLOW_CUDA_ARCHS" in os.environ:
        return os.environ["WAVEFLOW_CUDA_ARCHS"].split(";")
    try:
        command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ["80", "90"]
    return sorted({line.strip().replace(".", "") for line in said.splitlines() if line.strip()}) or ["80", "90"]


class BuildWithNvcc(build_py):
    def run(self) -> None:
        super().run()
        target = Path(self.build_lib) / "waveflow_cuda" / "libwaveflow_cuda.so"
        target.parent.mkdir(parents=True, exist_ok=True)
        archs = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in architectures()]
        source = HERE / "csrc" / "kernels.cu"
        command = [compiler(), "-O3", "-std=c++17", "--shared", "-Xcompiler", "-fPIC", "--threads", "2", *archs]
        print(" ".join([*command, str(source)]), flush=True)
        subprocess.run([*command, "-o", str(target), str(source)], check=True)


class WithLibrary(Distribution):
    def has_ext_modules(self) -> bool:
        return True


setup(
    name="waveflow-cuda",
    version=re.search(r'__version__ = "(.+)"', (HERE / "waveflow_cuda" / "__init__.py").read_text())[1],
    description="CUDA C++ kernels of waveflow's operations",
    packages=["waveflow_cuda"],
    python_requires=">=3.10",
    cmdclass={"build_py": BuildWithNvcc},
    distclass=WithLibrary,
)
