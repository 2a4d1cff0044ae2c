"""Compile every Triton kernel as the models launch it, for devices that need not be there.

    python scripts/gpu/compile_ahead.py

Writes benchmarks/ahead_of_time.json: registers, spills, shared memory and matrix instructions of each kernel, and the
blocks of it that fit on a multiprocessor. Needs Triton, no GPU.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction
from triton.tools.tensor_descriptor import TensorDescriptor

from waveflow.inference.packed import pack
from waveflow.inference.planned import PlannedInverse
from waveflow.models import MelContext, build
from waveflow.ops import tuning
from waveflow.ops.keyed_normal import keyed_normal

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "benchmarks" / "ahead_of_time.json"
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
# Bytes of shared memory a block may have, and those of a multiprocessor; CUDA programming guide, table of features.
SHARED = {"sm_80": (163 * 1024, 164 * 1024), "sm_90": (227 * 1024, 228 * 1024)}
TYPES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16", torch.int32: "i32", torch.int64: "i64"}
DTYPES = {name: dtype for dtype, name in TYPES.items() if dtype.is_floating_point}
MODELS = ("waveglow-256", "lapglow-base")
LENGTHS = (32, 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", nargs="+", choices=SHARED, default=[*SHARED])
    parser.add_argument("--model", nargs="+", default=[*MODELS], help="names of the registry")
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=["bf16", "fp16", "fp32"])
    parser.add_argument("--frames", nargs="+", type=int, default=[*LENGTHS], help="lengths that choose the tiles")
    parser.add_argument("--output", type=Path, default=TABLE)
    options = parser.parse_args()
    rows = []
    for arch in options.arch:
        for row in compiled(arch, options.model, options.dtype, options.frames):
            rows.append(row)
            print(*(f"{value}" for value in row.values()), file=sys.stderr)
    options.output.parent.mkdir(exist_ok=True)
    facts = {"date": datetime.date.today().isoformat(), "triton": triton.__version__, "torch": torch.__version__}
    options.output.write_text(json.dumps({**facts, "kernels": rows}, indent=1) + "\n")


def compiled(arch: str, models: list[str], dtypes: list[str], frames: list[int]) -> Iterator[dict[str, Any]]:
    """A row for each kernel that the models launch in these precisions and lengths."""
    seen = set()
    for name, dtype in itertools.product(models, dtypes):
        # One flow after another is alike: two launch every kernel there is.
        model = build(name, n_flows=2)
        packed = pack(model, DTYPES[dtype])
        for n_frames in frames:
            with tuning.assume(arch), launches() as calls:
                n = n_frames * model.mel_config.hop_length
                context = MelContext(torch.zeros(1, model.mel_config.n_mels, n_frames))
                PlannedInverse(packed, "triton")(torch.zeros(1, n), context)
                keyed_normal(torch.zeros(1, dtype=torch.int64), 0, n, "triton")
            for kernel, arguments, options in calls:
                source = source_of(kernel, arguments)
                key = (name, dtype, str(source.signature), str(source.constants), str(options))
                if key not in seen:
                    seen.add(key)
                    what = described(kernel, arguments)
                    row = {"arch": arch, "kernel": what, "model": name, "dtype": dtype, "frames": n_frames}
                    yield row | resources(source, options, arch)


class launches:
    """While entered, kernels are not launched: they and their arguments are collected."""

    def __enter__(self) -> list[tuple[JITFunction, dict[str, Any], dict[str, Any]]]:
        calls: list[tuple[JITFunction, dict[str, Any], dict[str, Any]]] = []
        self.plain: Callable = JITFunction.run

        def collect(kernel: JITFunction, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
            bound = dict(zip(kernel.arg_names, args))
            options = {k: v for k, v in kwargs.items() if k not in kernel.arg_names}
            calls.append((kernel, bound | {k: v for k, v in kwargs.items() if k not in options}, options))

        JITFunction.run = collect
        return calls

    def __exit__(self, *_: object) -> None:
        JITFunction.run = self.plain


def described(kernel: JITFunction, arguments: dict[str, Any]) -> str:
    """The kernel's name, and for a layer which one."""
    name = kernel.__name__.removesuffix("_kernel")
    if name != "wavenet_layer":
        return name
    if arguments["latent_ptr"] is not None:
        return "wavenet_first"
    return name if arguments["mix_ptr"] is not None else f"{name} (last)"


def source_of(kernel: JITFunction, arguments: dict[str, Any]) -> ASTSource:
    """What the just-in-time compiler would be given, had the kernel been launched."""
    signature, constants, attributes = {}, {}, {}
    for index, parameter in enumerate(kernel.params):
        value = arguments[parameter.name]
        one = isinstance(value, int) and value == 1 and not parameter.do_not_specialize
        if parameter.is_constexpr or value is None or one:
            signature[parameter.name], constants[(index,)] = "constexpr", value
            continue
        if isinstance(value, TensorDescriptor):
            block = ",".join(map(str, value.block_shape))
            signature[parameter.name] = f"tensordesc<{TYPES[value.base.dtype]}[{block}]>"
            continue
        if isinstance(value, torch.Tensor):
            signature[parameter.name], aligned = f"*{TYPES[value.dtype]}", True
        else:
            signature[parameter.name] = "fp32" if isinstance(value, float) else "i32"
            aligned = isinstance(value, int) and value % 16 == 0 and not parameter.do_not_specialize
        if aligned:
            attributes[(index,)] = [["tt.divisibility", 16]]
    return ASTSource(kernel, signature, constants, attributes)


def resources(source: ASTSource, options: dict[str, Any], arch: str) -> dict[str, Any]:
    """Compile, and read what the assembler and the disassembler say."""
    binary = triton.compile(source, target=GPUTarget("cuda", int(arch[3:]), 32), options=options)
    shared = binary.metadata.shared
    with tempfile.TemporaryDirectory() as folder:
        ptx, cubin = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        ptx.write_text(binary.asm["ptx"])
        cubin.write_bytes(binary.asm["cubin"])
        target = re.search(r"^\.target (\w+)", binary.asm["ptx"], re.M)[1]
        said = run("ptxas", "-v", f"-arch={target}", str(ptx), "-o", os.devnull)
        code = run("nvdisasm", str(cubin))
    registers = int(re.search(r"Used (\d+) registers", said)[1])
    stores, loads = map(int, re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", said).groups())
    warps = binary.metadata.num_warps
    limit, whole = SHARED[arch]
    # Registers are given out to warps in units of 256; a block costs another kilobyte of shared memory.
    by_registers = 65536 // (-(-registers * 32 // 256) * 256 * warps)
    return {
        "registers": registers,
        "spill_stores": stores,
        "spill_loads": loads,
        "serialized": "instructions are serialized" in said,
        "shared": shared,
        "fits": shared <= limit,
        "blocks_per_sm": min(by_registers, whole // (shared + 1024), 64 // warps),
        "matrix_instructions": dict(sorted(count(r"\b(HGMMA\.\d+x\d+x\d+|HMMA\.\d+)", code).items())),
        "config": options | tiles(source),
    }


def tiles(source: ASTSource) -> dict[str, Any]:
    names = source.fn.arg_names
    constants = {names[index[0]]: value for index, value in source.constants.items()}
    return {k: v for k, v in constants.items() if k.startswith("BLOCK_") or k in ("TMA", "TOGETHER")}


def count(pattern: str, text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for match in re.findall(pattern, text):
        found[match] = found.get(match, 0) + 1
    return found


def run(tool: str, *arguments: str) -> str:
    done = subprocess.run([TOOLS / tool, *arguments], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


if __name__ == "__main__":
    main()
