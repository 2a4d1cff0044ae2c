import json
import math

import pytest
import torch
from conftest import DATA
from recipe_modules import load

from waveflow.models import MODELS

contestants, run, rows = load("compare", "contestants", "run", "rows")


def test_every_model_of_the_registry_competes():
    assert {model for model, _ in contestants.CONTESTANTS.values()} == set(MODELS)


def test_held_out_recordings_are_in_no_batch():
    config = run.Config(data=str(DATA), held_out=2, held_out_seconds=0.5, batch_size=4)
    seen, held_out = run.recordings(config, 22050)
    assert (len(seen), len(held_out)) == (4, 2)
    assert all(len(clip) % 1024 == 0 and len(clip) <= 11025 for clip in held_out)
    starts = {clip[1000:1100].numpy().tobytes() for clip in seen}
    assert not starts & {clip[1000:1100].numpy().tobytes() for clip in held_out}
    assert run.batch(seen, config, torch.Generator().manual_seed(0)).shape == (4, config.segment)


def test_a_folder_with_too_few_recordings_is_refused():
    with pytest.raises(SystemExit, match="lower held_out=6"):
        run.recordings(run.Config(data=str(DATA), held_out=6), 22050)


def test_rows_that_remember_nothing_give_the_same_audio_for_more_operations():
    model = rows.perturbed(16, 8)
    z, mel = torch.randn(1, 256), torch.randn(1, 80, 1)
    with torch.inference_mode():
        slow, most, _ = rows.measure(lambda: rows.forgetful(model, z, mel), 1)
        fast, least, _ = rows.measure(lambda: model.inverse(z, mel), 1)
    assert torch.allclose(slow, fast, rtol=1e-3, atol=1e-3 * slow.abs().max().item())
    assert most > 5 * least


def test_recipe_leaves_a_table_and_a_plot(tmp_path, monkeypatch):
    small = {"n_flows": 1, "n_channels": 8, "dilations": [1]}
    monkeypatch.setitem(contestants.CONTESTANTS, "lapglow", ("lapglow", small))
    config = run.Config(
        data=str(DATA),
        models=["lapglow"],
        seconds=0.3,
        held_out=1,
        held_out_seconds=0.5,
        batch_size=2,
        out=str(tmp_path),
    )
    run.main(config)
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert row["steps"] >= 1
    assert all(math.isfinite(row[key]) for key in ("nats", "pesq", "log_mel_l1", "real_time", "gmac_per_second"))
    assert "| lapglow |" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "vocoders.png").stat().st_size > 1000
