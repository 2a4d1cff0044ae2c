import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("mkdocs", reason="needs the extra waveflow[docs]")
pytest.importorskip("latex2mathml", reason="needs the extra waveflow[docs]")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "scripts" / "docs_hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def markdown(hooks, text):
    return hooks.on_page_markdown(text, page=None, config=None, files=None)


def test_equations_become_mathml_and_code_and_prices_stay(hooks):
    found = markdown(hooks, "Let $x_1$ and\n\n$$\ny = \\sqrt{x}\n$$\n\ncost $5 or $6.\n")
    assert found.count("<math") == 2
    assert "<msqrt>" in found
    assert "cost $5 or $6." in found
    for code in ("`$a$`", "```bash\necho $A $B$\n```\n", "    indented $a$ b\n"):
        assert markdown(hooks, code) == code


def test_an_equation_that_begins_a_line_leaves_its_paragraph_whole(hooks):
    from markdown import Markdown

    html = Markdown(extensions=["md_in_html"]).convert(markdown(hooks, "A flow\n$z = x$ with\n$x$ is *one*.\n"))
    assert html.count("<p>") == 1
    assert html.endswith("is <em>one</em>.</p>")


def test_functions_keep_apart_from_what_they_are_multiplied_with(hooks):
    text = markdown(hooks, r"$u \tanh(x) + \log p$")
    assert '<mo form="prefix" lspace="0.17em" rspace="0">tanh</mo>' in text
    assert '<mo form="prefix" lspace="0.17em" rspace="0.17em">log</mo>' in text


@pytest.mark.parametrize("built", [False, True])
def test_the_demo_is_on_the_site_if_its_model_was_built(hooks, tmp_path, monkeypatch, built):
    from mkdocs.structure.files import File, Files

    names = ["index.md", "demo/index.html", "demo/page.js"]
    if built:
        (tmp_path / "demo" / "dist").mkdir(parents=True)
    monkeypatch.setattr(hooks, "_benchmark_pages", dict)
    monkeypatch.setattr(hooks, "_api_pages", dict)
    files = Files([File(name, str(tmp_path), str(tmp_path / "site"), True) for name in names])
    left = hooks.on_files(files, SimpleNamespace(docs_dir=str(tmp_path)))
    assert [file.src_uri for file in left] == (names if built else names[:1])


def test_every_benchmark_has_a_title(hooks):
    found = {path.stem.partition("-")[0] for path in (ROOT / "benchmarks").glob("*.json*")}
    assert found == {*hooks.TITLES}


def test_the_nav_has_what_there_is_and_pages_that_nobody_listed(hooks, tmp_path, monkeypatch):
    for name in ("index.md", "flows.md", "new.md"):
        (tmp_path / name).touch()
    monkeypatch.setattr(hooks, "_benchmark_pages", lambda: {"benchmarks/stream.md": ""})
    nav = ["index.md", {"Guides": ["late.md"]}, {"Background": ["flows.md", "late.md"]}, {"Benchmarks": "benchmarks"}]
    config = hooks.on_config(SimpleNamespace(docs_dir=str(tmp_path), nav=nav))
    expected = [
        "index.md",
        {"Background": ["flows.md"]},
        {"Benchmarks": ["benchmarks/stream.md"]},
        {"More": ["new.md"]},
    ]
    assert config.nav == expected


def test_results_become_tables_with_every_column(hooks):
    text = hooks._told({"threads": 2, "rows": [{"a": 1.23456, "b": {"p50": 2.0}}, {"a": None, "c": "x|y"}]})
    assert "| threads | 2 |" in text
    assert "| a | b | c |" in text
    assert "| 1.235 | p50 2 |  |" in text
    assert "|  |  | x\\|y |" in text


def test_every_page_of_the_reference_names_what_exists(hooks):
    assert [name for names in hooks.API.values() for name in names if not hooks._exists(name)] == []


@pytest.mark.parametrize(
    "name",
    [
        "waveflow.nonesuch",
        "waveflow.audio.mel_nonesuch",
        "waveflow.audio.mel.nonesuch",
        "waveflow.nonesuch.mel.MelSpectrogram",
        "nonesuch",
    ],
)
def test_a_name_that_does_not_exist_is_left_out_of_the_reference(hooks, monkeypatch, name):
    monkeypatch.setattr(hooks, "API", {"Mels": [name, "waveflow.audio.mel", "waveflow.audio.mel.MelSpectrogram"]})
    page = hooks._api_pages()["api/mels.md"]
    assert page == "# Mels\n\n::: waveflow.audio.mel\n\n::: waveflow.audio.mel.MelSpectrogram\n"


def test_every_page_that_the_nav_lists_is_there(hooks):
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
    listed = [line.split("- ")[1] for line in nav.splitlines() if line.endswith(".md")]
    assert listed
    assert [name for name in listed if not (ROOT / "docs" / name).is_file()] == []
