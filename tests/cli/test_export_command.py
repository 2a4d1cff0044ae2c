import json

import pytest

from waveflow.checkpoints import native


@pytest.mark.slow
def test_export_prints_size_likeness_and_speed_of_each_file(run, checkpoint, tmp_path):
    code, out, err = run("export", tmp_path / "out", "-m", checkpoint, "-f", "torch", "--json")
    assert code == 0, err
    (found,) = json.loads(out)
    assert found["size"] == (tmp_path / "out" / "model.pt2").stat().st_size
    assert found["snr"] >= 60
    assert found["x_real_time"] > 0
    assert found["min_frames"] == 3
    metadata = json.loads((tmp_path / "out" / "export.json").read_text())["metadata"]
    assert metadata == {"weights_sha256": native.read_facts(checkpoint)["weights_sha256"]}
    code, out, err = run("export", tmp_path / "out", "-m", checkpoint, "-f", "torch")
    assert code == 0, err
    assert "dB like the model" in out
    assert "for 3 frames or more" in " ".join(out.split())
    assert "model.pt2" in out.replace("\n", "")


def test_a_format_that_does_not_exist_is_refused(run, checkpoint, tmp_path):
    code, _, err = run("export", tmp_path / "out", "-m", checkpoint, "-f", "tflite")
    assert code == 2
    assert "no format is called 'tflite'" in err
    assert not (tmp_path / "out").exists()
