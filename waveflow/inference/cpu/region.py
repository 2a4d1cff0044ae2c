"""The inverse of a WaveNet flow on a CPU as one compiled function, which each of several threads runs on its share.

Between two layers the threads meet at a barrier; nothing else is shared in turns, and Python is not seen. Rows are
positions of the flow; convolutions are done by tiles of four rows as in `waveflow.inference.cpu.kernels`.
"""

# Numba infers the types of what it compiles.
# ruff: noqa: ANN001, ANN201, ANN202

from __future__ import annotations

from waveflow.inference.cpu.arrays import shares
from waveflow.inference.cpu.barrier import wait
from waveflow.inference.cpu.code import LANES
from waveflow.inference.cpu.gate import gate_tile
from waveflow.inference.cpu.kernels import compiled, shed_gain, uncouple, values_at_points
from waveflow.inference.cpu.products import PANEL, ROWS, product

# Rows at a time of what is neither layer nor barrier.
BLOCK = 8 * ROWS


@compiled
def invert(worker, n_workers, barrier, x):
    """One thread's share of a flow's inverse, from the latents to the last latent, or to frames of audio.

    barrier: int64 `(1,)`, 0 before the first thread comes.
    x: `waveflow.inference.cpu.arrays.Arrays`.
    """
    f, steps, latents = x.flow[0], x.steps, x.latents
    begin, end = shares((f.n_rows + ROWS - 1) // ROWS, worker, n_workers)
    first, last = begin * ROWS, min(end * ROWS, f.n_rows)
    n_outside = 0
    for t in range(f.n_rows):
        n_outside += x.inside[t] == 0
    has_gaps = n_outside > 0
    arrivals = 0
    for i in range(len(steps)):
        step = steps[i]
        _start(x, step, first, last, has_gaps, latents[i], x.hidden[0], x.places[worker])
        for j in range(step.first, step.last):
            layer, turn = x.layers[j], (j - step.first) % 2
            if f.n_positions > 1:
                if j > step.first:
                    arrivals += n_workers
                    wait(barrier, arrivals)
                _tell(x, layer, worker, n_workers, x.places[worker])
            arrivals += n_workers
            wait(barrier, arrivals)
            source, target = x.hidden[turn], x.hidden[1 - turn]
            seen = source if layer.seen == f.channels else x.seen
            _layer(x, layer, worker, n_workers, j > step.first, has_gaps, seen, source, target)
        arrivals += n_workers
        wait(barrier, arrivals)
        _finish(x, step, first, last, latents[i], latents[i + 1].reshape(-1), x.places[worker])
    if len(x.tail):
        _transform(x, first, last, latents[len(steps)], x.places[worker])
        arrivals += n_workers
        wait(barrier, arrivals)
        _overlap(x, first, last, x.frames[0], x.frames[1])


@compiled
def _clear(rows, row):
    for k in range(rows.shape[1]):
        rows[row, k] = 0


@compiled
def _start(x, step, first, last, has_gaps, latent, hidden, places):
    """The first hidden state of rows `first` to `last - 1`."""
    f, floats, seen = x.flow[0], x.floats, x.seen
    n, half, narrow = last - first, step.half, seen.shape[1]
    spare = (len(hidden) - 1) * f.channels
    for r in range(n + ROWS):
        places[r] = (f.lead + first + r) * f.channels if r < n else spare
    flat, at = hidden.reshape(-1), first * f.width + step.passes
    product(
        latent.reshape(-1), at, f.width, floats, step.start, half, f.channels, floats, step.start_bias, False, floats,
        flat, places, 0, n, 0,
    )  # fmt: skip
    if narrow > 1:
        for t in range(first, last):
            row, passing = seen[f.lead + t], latent[t, step.passes : step.passes + half]
            for k in range(half):
                row[1 + k] = passing[k]
            row[0] = 1
            for k in range(1 + half, narrow):
                row[k] = 0
    if has_gaps:
        for t in range(first, last):
            if x.inside[t] == 0:
                _clear(hidden, f.lead + t)
                _clear(seen, f.lead + t)


@compiled
def _tell(x, layer, worker, n_workers, places):
    """Conditioning of a share of all positions and panels, of all frames."""
    f, floats = x.flow[0], x.floats
    n_frames, k, a_frame = f.n_rows // f.n_positions, f.features, f.n_positions * 2 * f.channels
    for r in range(n_frames + ROWS):
        places[r] = min(r, n_frames) * a_frame
    begin, end = shares(a_frame // PANEL, worker, n_workers)
    for part in range(begin, end):
        product(
            x.spoken, 0, k, x.weights, layer.told + part * k * PANEL, k, PANEL, floats, layer.told_bias + part * PANEL,
            False, floats, x.told, places, 0, n_frames, part * PANEL,
        )  # fmt: skip


@compiled
def _layer(x, layer, worker, n_workers, follows, has_gaps, seen, source, target):
    """A share of one layer."""
    f, d, c, k = x.flow[0], layer.dilation, x.flow[0].channels, layer.seen
    weights, floats, most = x.weights, x.floats, x.flow[0].tiles
    n_tiles = (f.n_rows + 4 * d - 1) // (4 * d) * d
    begin, end = shares((n_tiles + ROWS - 1) // ROWS, worker, n_workers)
    n_parts = (end - begin + most // ROWS - 1) // (most // ROWS)
    split = (6 * most + ROWS) * max(f.channels, x.seen.shape[1])
    values, gated = x.halves[worker, :split], x.halves[worker, split:]
    products, told_here = x.singles[worker, : 6 * most * PANEL], x.singles[worker, 6 * most * PANEL :]
    n_places = 4 * most + ROWS
    rows_h, rows_y = x.places[worker, :n_places], x.places[worker, n_places : 2 * n_places]
    lines = x.places[worker, 2 * n_places :]
    for r in range(len(lines)):
        lines[r] = r * PANEL
    flat_source, flat_target, flat_y = source.reshape(-1), target.reshape(-1), x.y.reshape(-1)
    for part in range(n_parts):
        low, high = shares(end - begin, part, n_parts)
        a, b = (begin + low) * ROWS, min((begin + high) * ROWS, n_tiles)
        n = b - a
        _find_rows(f, a, n, d, rows_h, rows_y, (len(source) - 1) * c)
        values_at_points(seen, values[: 6 * n * k].reshape(6, n, k), a, d, f.lead)
        # Rows that these tiles touch.
        low, high = a // d * (4 * d), min((b - 1) // d * (4 * d) + 4 * d, f.n_rows)
        plane = (n + ROWS - 1) // ROWS * ROWS * PANEL
        for panel in range(2 * c // PANEL):
            if f.n_positions == 1:
                told_at, told_bias = layer.told + panel * f.features * PANEL, layer.told_bias + panel * PANEL
                product(
                    x.spoken, low * f.features, f.features, weights, told_at, f.features, PANEL, floats, told_bias,
                    False, floats, told_here, lines, 0, high - low, 0,
                )  # fmt: skip
            for q in range(6):
                taps = layer.taps + (q * 2 * c + panel * PANEL) * k
                product(
                    values, q * n * k, k, weights, taps, k, PANEL, floats, 0, False, floats, products, lines, 0, n,
                    q * plane,
                )  # fmt: skip
            if f.n_positions == 1:
                _gate(products, plane, told_here, PANEL, 0, low, high, gated, c, panel, a, n, d)
            else:
                _gate(products, plane, x.told, 2 * c, panel * PANEL, 0, f.n_rows, gated, c, panel, a, n, d)
        if layer.mix >= 0:
            product(
                gated, 0, c, weights, layer.mix, c, c, floats, layer.mix_bias, True, flat_source, flat_target, rows_h,
                0, 4 * n, 0,
            )  # fmt: skip
        product(
            gated, 0, c, weights, layer.end, c, f.y_width, floats, layer.end_bias, follows, flat_y, flat_y, rows_y, 0,
            4 * n, 0,
        )  # fmt: skip
        if has_gaps:
            for r in range(4 * n):
                t = rows_y[r] // f.y_width
                if t < f.n_rows and x.inside[t] == 0:
                    _clear(target, f.lead + t)


@compiled
def _find_rows(f, first, n, d, rows_h, rows_y, spare_h):
    """Where the rows of `n` tiles lie in the hidden state and in the output; those past the end are thrown away."""
    spare_y = f.n_rows * f.y_width
    for i in range(4):
        for r in range(n):
            u = first + r
            t = u // d * (4 * d) + u % d + i * d
            rows_h[i * n + r] = (f.lead + t) * f.channels if t < f.n_rows else spare_h
            rows_y[i * n + r] = t * f.y_width if t < f.n_rows else spare_y
    for r in range(4 * n, 4 * n + ROWS):
        rows_h[r], rows_y[r] = spare_h, spare_y


@compiled
def _gate(products, plane, told, width, column, low, high, gated, c, panel, first, n, d):
    """A panel of the gated units of `n` tiles; row `low` is told by the first of `told`'s, `high - 1` by the last."""
    stop = high - 1
    for r in range(n):
        u = first + r
        t = u // d * (4 * d) + u % d
        # Rows past the end are made of the last one's conditioning; nobody reads them.
        t_0, t_1 = min(t, stop) - low, min(t + d, stop) - low
        t_2, t_3 = min(t + 2 * d, stop) - low, min(t + 3 * d, stop) - low
        gate_tile(
            products, r * PANEL, plane, told, t_0 * width + column, t_1 * width + column, t_2 * width + column,
            t_3 * width + column, gated, r * c + panel * (PANEL // 2), n * c,
        )  # fmt: skip


@compiled
def _finish(x, step, first, last, latent, following, places):
    """Undo the coupling of rows `first` to `last - 1` and mix the channels."""
    f, floats, n_channels = x.flow[0], x.floats, 2 * step.half
    padded = (n_channels + LANES - 1) // LANES * LANES
    for begin in range(first, last, BLOCK):
        n = min(BLOCK, last - begin)
        uncouple(latent[begin : begin + n], x.y[begin : begin + n], step.changes, step.half, step.bound)
        for r in range(n + ROWS):
            places[r] = (begin + r if r < n else f.n_rows) * f.width
        product(
            latent.reshape(-1), begin * f.width, f.width, floats, step.mix, n_channels, padded, floats, 0, False,
            floats, following, places, 0, n, step.early,
        )  # fmt: skip


@compiled
def _transform(x, first, last, latent, places):
    """Take the gain off rows `first` to `last - 1`, and make frames of their bands."""
    f, tail, floats, n_bands = x.flow[0], x.tail[0], x.floats, x.frames.shape[2]
    k, log_gain = tail.features, x.y
    for begin in range(first, last, BLOCK):
        n = min(BLOCK, last - begin)
        for r in range(n + ROWS):
            places[r] = (begin + r if r < n else f.n_rows) * f.y_width
        product(
            x.features, begin * k, k, floats, tail.gain, k, n_bands, floats, tail.gain_bias, False, floats,
            log_gain.reshape(-1), places, 0, n, 0,
        )  # fmt: skip
        shed_gain(latent[begin : begin + n], log_gain[begin : begin + n], n_bands)
        for r in range(n + ROWS):
            places[r] = (begin + r if r < n else f.n_rows) * n_bands
        product(
            latent.reshape(-1), begin * f.width, f.width, floats, tail.dct, n_bands, n_bands, floats, 0, False, floats,
            x.frames[0].reshape(-1), places, 0, n, 0,
        )  # fmt: skip


@compiled
def _overlap(x, first, last, frames, audio):
    """Undo the rotations around the boundaries between neighbours, as `LappedSqueeze`."""
    tail, inside, n, half = x.tail[0], x.inside, frames.shape[1], x.tail[0].overlap // 2
    cos, sin = x.floats[tail.cos : tail.cos + half], x.floats[tail.sin : tail.sin + half]
    for t in range(first, last):
        for k in range(n):
            audio[t, k] = frames[t, k]
        if t > 0 and inside[t - 1] and inside[t]:
            for j in range(half):
                audio[t, j] = cos[j] * frames[t, j] - sin[j] * frames[t - 1, n - 1 - j]
        if t + 1 < len(inside) and inside[t + 1] and inside[t]:
            for j in range(half):
                audio[t, n - 1 - j] = cos[j] * frames[t, n - 1 - j] + sin[j] * frames[t + 1, j]
