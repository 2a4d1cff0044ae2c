"""What MkDocs does besides: pages made of docstrings and benchmark results, equations as MathML, a nav of what exists.

Everything works without a network: browsers draw MathML by themselves.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
API = {
    "Vocoders": [
        "waveflow.load",
        "waveflow.Vocoder",
        "waveflow.inference.fuse.fuse",
        "waveflow.inference.score",
    ],
    "Mels and audio": [
        "waveflow.MelConfig",
        "waveflow.MelSpectrogram",
        "waveflow.audio.mel_convert",
        "waveflow.audio.mel_doctor",
        "waveflow.audio.reading",
        "waveflow.audio.writing",
    ],
    "Streaming": ["waveflow.inference.streaming.stream", "waveflow.inference.streaming.input"],
    "Adapters": [
        "waveflow.adapters.torchaudio",
        "waveflow.adapters.transformers",
        "waveflow.adapters.tacotron2",
        "waveflow.adapters.mels",
        "waveflow.inference.hub",
    ],
    "Export": ["waveflow.inference.export", "waveflow.inference.exported"],
    "Checkpoints": ["waveflow.checkpoints.native", "waveflow.checkpoints.convert"],
    "Models": [
        "waveflow.models.base",
        "waveflow.models.registry",
        "waveflow.models.lapglow",
        "waveflow.models.waveglow",
        "waveflow.models.squeezewave",
        "waveflow.models.waveflow",
        "waveflow.models.flowavenet",
        "waveflow.models.wavenode",
    ],
    "Bijections": [
        "waveflow.bijections.base",
        "waveflow.bijections.squeeze",
        "waveflow.bijections.linear",
        "waveflow.bijections.coupling",
        "waveflow.bijections.affine",
        "waveflow.bijections.actnorm",
        "waveflow.bijections.multiscale",
        "waveflow.bijections.planar",
        "waveflow.bijections.radial",
        "waveflow.bijections.sylvester",
        "waveflow.bijections.nice",
        "waveflow.bijections.realnvp",
        "waveflow.bijections.glow",
        "waveflow.bijections.autoregressive",
        "waveflow.bijections.neural_autoregressive",
        "waveflow.bijections.elementwise",
        "waveflow.bijections.spline",
        "waveflow.bijections.residual",
        "waveflow.bijections.continuous",
        "waveflow.bijections.discrete",
        "waveflow.bijections.inverse",
        "waveflow.bijections.contract",
        "waveflow.distributions.flow",
        "waveflow.distributions.bases",
        "waveflow.distributions.transforms",
    ],
    "Losses": ["waveflow.losses"],
    "Training": ["waveflow.training.config", "waveflow.training.recipe", "waveflow.training.finetune"],
    "Metrics": ["waveflow.metrics.spectral", "waveflow.metrics.pitch", "waveflow.metrics.mcd"],
}
# By what a file of benchmarks/ is called before its device.
TITLES = {
    "ahead_of_time": "Triton kernels as compiled",
    "autotune": "Settings of the kernels",
    "benchmark": "Synthesis on a GPU",
    "cpu_inverse": "Synthesis on a CPU",
    "cuda_ahead_of_time": "CUDA kernels as compiled",
    "finetune": "Fine-tuning",
    "fp8": "Error of float8",
    "parity": "Error of the kernels",
    "research_lapglow": "LapGlow, variants",
    "research_lapglow_curves": "LapGlow, training curves",
    "research_lapglow_scaling": "LapGlow, sizes and steps",
    "serve": "Serving",
    "stream": "Streaming",
    "train_activations": "Reversible training",
}
_CODE = re.compile(r"(^(?P<fence>```+|~~~+).*?^(?P=fence)\s*?$|^(?: {4}|\t).*?$|`[^`\n]+`)", re.M | re.S)
_DISPLAY = re.compile(r"\$\$(.+?)\$\$", re.S)
_INLINE = re.compile(r"(?<![\\$\w])\$(?![\s$])([^$\n]+?)(?<![\s\\])\$(?![\w$])")
# Browsers set names of functions as closely as products of letters, unless told that they are operators.
_FUNCTION = re.compile(r"<m[io][^>]*>(log|tanh|sin|cos|logit|tr|det)</m[io]>(?=(<mo[^>]*>(?:\(|&#x00028;|&#x0007C;))?)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put into the nav what there is: pages on disk and generated ones."""
    pages = {path.relative_to(config.docs_dir).as_posix() for path in Path(config.docs_dir).rglob("*.md")}
    generated = {"benchmarks": [*_benchmark_pages()], "api": [f"api/{_slug(title)}.md" for title in API]}
    listed: set[str] = set()

    def there(entry: Any) -> Any:
        if isinstance(entry, str):
            listed.add(entry)
            return entry if entry in pages else None
        ((title, content),) = entry.items()
        if isinstance(content, str):
            return {title: generated[content]} if generated.get(content) else None
        kept = [found for item in content if (found := there(item))]
        return {title: kept} if kept else None

    config.nav = [found for entry in config.nav if (found := there(entry))]
    if more := sorted(pages - listed):
        config.nav.append({"More": more})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages; leave the demo out where scripts/build_demo.py has not written its model."""
    if not Path(config.docs_dir, "demo", "dist").is_dir():
        for file in [file for file in files if file.src_uri.startswith("demo/")]:
            files.remove(file)
    for name, text in {**_benchmark_pages(), **_api_pages()}.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn `$...$` and `$$...$$` outside code into MathML."""
    parts, last = [], 0
    for code in _CODE.finditer(markdown):
        parts += [_with_math(markdown[last : code.start()]), code.group()]
        last = code.end()
    return "".join([*parts, _with_math(markdown[last:])])


def _with_math(text: str) -> str:
    text = _DISPLAY.sub(lambda found: f"\n\n{_mathml(found[1].strip(), 'block')}\n\n", text)
    # Python-Markdown takes a line that begins with <math> for a block, and would end the paragraph there.
    return _INLINE.sub(lambda found: f"<span>{_mathml(found[1], 'inline')}</span>", text)


def _mathml(latex: str, display: str) -> str:
    def spaced(found: re.Match[str]) -> str:
        return f'<mo form="prefix" lspace="0.17em" rspace="{"0" if found[2] else "0.17em"}">{found[1]}</mo>'

    return _FUNCTION.sub(spaced, convert(latex, display=display))


def _api_pages() -> dict[str, str]:
    pages = {}
    for title, names in API.items():
        names = [name for name in names if _exists(name)]
        pages[f"api/{_slug(title)}.md"] = f"# {title}\n\n" + "\n".join(f"::: {name}\n" for name in names)
    return pages


def _exists(name: str) -> bool:
    """Whether there is such a module, or a module that binds the last part of the name, told without importing any."""
    module, _, attribute = name.rpartition(".")
    if _source(name) is not None:
        return True
    source = _source(module)
    return source is not None and attribute in _bound(ast.parse(source.read_text(encoding="utf-8")).body)


def _source(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if module and file.is_file()), None)


def _bound(statements: list[ast.stmt]) -> set[str]:
    """The names that a module's own statements give to something, those too that stand under a condition."""
    names = set()
    for node in statements:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            names |= {found.id for found in ast.walk(node) if isinstance(getattr(found, "ctx", None), ast.Store)}
        elif isinstance(node, ast.If):
            names |= _bound(node.body) | _bound(node.orelse)
    return names


def _benchmark_pages() -> dict[str, str]:
    pages = {}
    for path in sorted((ROOT / "benchmarks").glob("*.json*")):
        text = path.read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line.strip()]
        content = [json.loads(line) for line in lines] if path.suffix == ".jsonl" else json.loads(text)
        name, _, device = path.stem.partition("-")
        title = TITLES.get(name, name.replace("_", " ").capitalize()) + (f", {device}" if device else "")
        source = f"Made of `benchmarks/{path.name}` when this site was built.\n"
        pages[f"benchmarks/{_slug(path.stem)}.md"] = f"# {title}\n\n{source}\n{_told(content)}"
    return pages


def _told(content: Any) -> str:
    """JSON as Markdown: facts first, then each list of records as a table."""
    if isinstance(content, list):
        content = {"rows": content}
    facts = {key: value for key, value in content.items() if not _is_table(value)}
    text = _table([{"": key, "value": value} for key, value in facts.items()]) if facts else ""
    for key, value in content.items():
        if _is_table(value):
            records = value if isinstance(value, list) else [{"": name, **row} for name, row in value.items()]
            text += ("" if key == "rows" else f"\n## {key.replace('_', ' ').capitalize()}\n") + "\n" + _table(records)
    return text


def _is_table(value: Any) -> bool:
    rows = value if isinstance(value, list) else [*value.values()] if isinstance(value, dict) else []
    return bool(rows) and all(isinstance(row, dict) for row in rows)


def _table(records: list[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for record in records for key in record))
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(_cell(record.get(column)) for column in columns) + " |" for record in records]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(_cell(item) for item in value[:12]) + (", ..." if len(value) > 12 else "")
    return str(value).replace("|", "\\|").replace("\n", " ")


def _slug(title: str) -> str:
    return title.lower().replace(" ", "-").replace("_", "-")
