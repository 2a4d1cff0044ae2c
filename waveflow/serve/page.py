"""The page at /docs: what the schema says, for people, without a script and without anything from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape
from typing import Any

HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'"}

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
body { color: #1a1a1a; background: #fff; }
h2 { font-size: 1rem; margin: 2rem 0 0.5rem; } h2 b { display: inline-block; min-width: 3rem; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; padding: 0.5rem 0; }
td, th { border-top: 1px solid #ccc; padding: 0.3rem 0.8rem 0.3rem 0; text-align: left; vertical-align: top; }
code { font: 0.9em ui-monospace, monospace; overflow-wrap: anywhere; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #161616; } a { color: #8ab4f8; } }
"""


def page(schema: dict[str, Any], stream: dict[str, Any], stream_says: str) -> str:
    """The page.

    Args:
        schema: OpenAPI's, of the application.
        stream: JSON schema of the settings of `/v1/stream`, of which OpenAPI knows nothing.
        stream_says: What a client says there, and hears.
    """
    title = f"{schema['info']['title']} {schema['info']['version']}"
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>",
        '<p>The same for programs: <a href="/openapi.json">/openapi.json</a>. The limits and the mel contract: ',
        '<a href="/v1/model">/v1/model</a>.</p>',
    ]
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            parts += _operation(method, path, operation)
    parts += _heading("ws", "/v1/stream", stream_says)
    parts += _table("Settings, in the query", map(_setting, stream["properties"], stream["properties"].values()))
    return "\n".join([*parts, "</body></html>"])


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield from _heading(method, path, operation.get("description") or operation["summary"])
    if "requestBody" in operation:
        body = operation["requestBody"]
        kinds = ", ".join(f"<code>{escape(kind)}</code>" for kind in body["content"])
        yield f"<p>{_prose(body['description'])} {kinds}</p>"
    settings = operation.get("parameters", [])
    yield from _table("Settings, in the query", (_setting(item["name"], _described(item)) for item in settings))
    answers = [(status, _prose(answer["description"])) for status, answer in operation["responses"].items()]
    yield from _table("Answers", answers if settings else ())


def _described(item: dict[str, Any]) -> dict[str, Any]:
    return {**item["schema"], "description": item.get("description", item["schema"].get("description", ""))}


def _setting(name: str, schema: dict[str, Any]) -> tuple[str, str]:
    kinds = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
    told = [_prose(schema.get("description", ""))]
    for kind in kinds:
        told.append(" or ".join(f"<code>{escape(str(value))}</code>" for value in kind.get("enum", [])) or kind["type"])
        least, most = kind.get("minimum"), kind.get("maximum", kind.get("exclusiveMaximum"))
        if least is not None:
            told.append(f"from {least}" + (f" to {most}" if most is not None else ""))
    if schema.get("default") is not None:
        told.append(f"<code>{escape(str(schema['default']).lower())}</code> unless given")
    return name, "; ".join(part.rstrip(".;") for part in told if part)


def _heading(method: str, path: str, text: str) -> Iterator[str]:
    yield f"<h2><b>{escape(method.upper())}</b> <code>{escape(path)}</code></h2>"
    yield f"<p>{_prose(text)}</p>"


def _table(caption: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    written = [f"<tr><th><code>{escape(name)}</code></th><td>{text}</td></tr>" for name, text in rows]
    if written:
        yield f"<table><caption>{caption}</caption>{''.join(written)}</table>"


def _prose(text: str) -> str:
    """Escaped, with what stands in backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))
