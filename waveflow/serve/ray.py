"""The server on more than one machine: replicas of the application under Ray Serve."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve import Application

from waveflow.serve.config import ServeConfig

# Of more requests than this Ray's proxy thinks before a replica does, which refuses with a reason.
SPARE = 2


def deployment(
    model: str | None = None,
    config: ServeConfig | None = None,
    *,
    replicas: int = 1,
    cpus: float = 1.0,
    gpus: float = 0.0,
) -> Application:
    """An application for `ray.serve.run`: each replica loads the model and serves as `waveflow serve` does.

    Args:
        model: Bundled model or checkpoint directory, which every machine can read.
        config: The limits of each replica.
        replicas: How many.
        cpus: Of each, and as many threads.
        gpus: Of each; a vocoder runs on one where there is one.
    """
    limits = config or ServeConfig()

    def build() -> FastAPI:
        import torch

        from waveflow.inference import load
        from waveflow.serve.app import create_app

        torch.set_num_threads(max(1, int(cpus)))
        return create_app(load(model, device="cuda" if gpus else "cpu"), limits)

    @serve.ingress(build)
    class Vocoding:
        pass

    replica = serve.deployment(
        Vocoding,
        name="waveflow",
        num_replicas=replicas,
        max_ongoing_requests=SPARE * (limits.max_requests + limits.max_streams),
        ray_actor_options={"num_cpus": cpus, "num_gpus": gpus},
        graceful_shutdown_timeout_s=limits.drain_seconds,
    )
    return replica.bind()


def deploy(options: dict[str, Any]) -> Application:
    """As `deployment`, of options as `serve run waveflow.serve.ray:deploy` hands them over, texts.

    Raises:
        ValueError: An unknown option.
    """
    own: dict[str, Any] = {"model": str, "replicas": int, "cpus": float, "gpus": float}
    limits: dict[str, Any] = {
        field.name: str if field.default is None else type(field.default) for field in fields(ServeConfig)
    }
    if unknown := sorted(set(options) - set(own) - set(limits)):
        raise ValueError(f"unknown options {', '.join(unknown)}, expected some of {', '.join([*own, *limits])}")
    settings = {name: own[name](value) for name, value in options.items() if name in own}
    config = ServeConfig(**{name: limits[name](value) for name, value in options.items() if name in limits})
    return deployment(settings.pop("model", None), config, **settings)
