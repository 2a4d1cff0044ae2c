"""What stands between requests and the vocoder: reading, waiting, encoding, each within its limit."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import anyio
import torch
from starlette.requests import ClientDisconnect, Request
from torch import Tensor

from waveflow.audio.mel_check import check_mel
from waveflow.inference import Stream, Vocoder
from waveflow.serve import sound
from waveflow.serve.batching import Utterance, Worker
from waveflow.serve.bodies import EXPECTED, TooLarge, read_body
from waveflow.serve.config import ServeConfig
from waveflow.serve.gate import Gate
from waveflow.serve.metrics import Metrics

# Frames of a stream computed in one go, others waiting meanwhile.
STREAM_FRAMES = 32
CODING_THREADS = 2

Result = TypeVar("Result")


class Refused(Exception):
    """A request that is not served.

    Attributes:
        status: Of HTTP.
        reason: For the client.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Service:
    """A vocoder, its worker, and everything around them that one server has once.

    Args:
        vocoder: The vocoder.
        config: The limits.
    """

    def __init__(self, vocoder: Vocoder, config: ServeConfig) -> None:
        self.vocoder, self.config = vocoder, config
        self.metrics = Metrics(lambda: self.worker.waiting)
        self.worker = Worker(
            vocoder,
            window=config.batch_window_ms / 1000,
            max_frames=config.max_batch_frames,
            on_batch=self.metrics.on_batch,
            on_split=self.metrics.splits.inc,
        )
        self.gate = Gate(config, self.metrics)
        self._coders = ThreadPoolExecutor(CODING_THREADS, "waveflow-coder")

    @property
    def ready(self) -> bool:
        """Whether new work is taken."""
        return self.worker.alive and not self.gate.draining

    def start(self) -> None:
        """Start the worker and compute something, so that the first client does not pay for what is made once."""
        # The same seed is to give the same audio, whoever asked before.
        self.vocoder.settle()
        self.worker.start()
        mel = torch.full((self.vocoder.config.mel.n_mels, 32), self.vocoder.config.mel.floor)
        self.worker.submit(Utterance(mel, seed=0)).result()
        with suppress(Refused):
            self.open_stream()

    def stop(self) -> None:
        """Finish the work at hand and end all threads."""
        self.worker.stop()
        self._coders.shutdown(cancel_futures=True)

    async def receive(self, request: Request) -> bytes:
        """The body of a request.

        Raises:
            Refused: Wrapped or packed, too large, too slow, or the client went away.
        """
        if (kind := request.headers.get("content-type", "")).lower().startswith("multipart/"):
            raise Refused(415, f"the body is a form ({kind.partition(';')[0]}); send the file alone: {EXPECTED}")
        if (coding := request.headers.get("content-encoding", "identity")).lower() != "identity":
            raise Refused(415, f"the body is packed by {coding}; send it as it is: {EXPECTED}")
        limit = self.config.max_body_bytes
        told = request.headers.get("content-length", "0")
        if told.isdecimal() and int(told) > limit:
            raise Refused(413, f"the body has {told} bytes, the server takes {limit}")
        body = bytearray()
        try:
            with anyio.fail_after(self.config.receive_seconds):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > limit:
                        raise Refused(413, f"the body has more than the {limit} bytes that the server takes")
        except TimeoutError as error:
            raise Refused(408, f"the body did not arrive within {self.config.receive_seconds:g} s") from error
        except ClientDisconnect as error:
            raise Refused(499, "the client went away") from error
        return bytes(body)

    async def understand(self, body: bytes) -> tuple[Tensor, int]:
        """The mel that a body holds or whose recording it holds, and how many samples to answer with.

        Raises:
            Refused: With the reason.
        """
        return await self._code(self._understand, body)

    def _understand(self, body: bytes) -> tuple[Tensor, int]:
        mel_config = self.vocoder.config.mel
        found = read_body(body, mel_config, self.config.max_seconds)
        if found.dim() == 2:
            return found, mel_config.samples(found.shape[-1])
        shortest = mel_config.margins[0] + 1
        if len(found) < shortest:
            raise ValueError(f"the recording has {len(found)} samples, expected at least {shortest}")
        mel = self.vocoder.mel(found).cpu()
        check_mel(mel, mel_config)
        return mel, len(found)

    async def compute(self, utterance: Utterance, request: Request) -> Tensor:
        """The audio of an utterance; a client that goes away takes its work out of the queue.

        Raises:
            Refused: The client went away, or the work did not begin in time.
        """
        future = self.worker.submit(utterance)
        result = asyncio.wrap_future(future)
        gone = asyncio.ensure_future(_gone(request))
        try:
            waited: set[asyncio.Future[Any]] = {result, gone}
            await asyncio.wait(waited, timeout=self.config.wait_seconds, return_when=asyncio.FIRST_COMPLETED)
            if gone.done() and not result.done():
                raise Refused(499, "the client went away")
            if not result.done() and future.cancel():
                raise Refused(429, f"the work did not begin within {self.config.wait_seconds:g} s; come again later")
            with _reasons():
                return await result
        finally:
            gone.cancel()
            result.cancel()

    async def encode(self, audio: Tensor, file_format: sound.Format) -> bytes:
        """The bytes of audio, counted.

        Raises:
            Refused: The audio is not finite.
        """
        rate = self.vocoder.sample_rate
        data = await self._code(sound.encode, audio, rate, file_format)
        self.metrics.audio.inc(len(audio) / rate)
        return data

    def open_stream(self, **settings: Any) -> Stream:
        """A stream of the vocoder's.

        Raises:
            Refused: Settings against each other, or a model that cannot be streamed.
        """
        try:
            return Stream(self.vocoder, **settings)
        except (ValueError, TypeError) as error:
            raise Refused(422, str(error)) from error

    async def push(self, stream: Stream, mel: Tensor, file_format: sound.Format) -> AsyncIterator[bytes]:
        """Give a stream frames `(n_mels, F)`, a few at a time; the audio that is then certain.

        Raises:
            Refused: Frames against the contract.
        """
        for part in mel.split(STREAM_FRAMES, dim=1):
            audio = await self._call(functools.partial(stream.push, part))
            if len(audio):
                yield await self.encode(audio, file_format)

    async def finish(self, stream: Stream, file_format: sound.Format) -> bytes:
        """The rest of a stream's audio."""
        return await self.encode(await self._call(stream.finish), file_format)

    async def _call(self, function: Callable[[], Tensor]) -> Tensor:
        def compute() -> Tensor:
            return function().cpu()

        with _reasons():
            return await asyncio.wrap_future(self.worker.call(compute))

    async def _code(self, function: Callable[..., Result], *arguments: Any) -> Result:
        with _reasons():
            return await asyncio.get_running_loop().run_in_executor(self._coders, function, *arguments)


@contextmanager
def _reasons() -> Iterator[None]:
    """Turn a complaint about what a client gave into a refusal."""
    try:
        yield
    except TooLarge as error:
        raise Refused(413, str(error)) from error
    except ValueError as error:
        raise Refused(400, str(error)) from error


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
