import socket
import urllib.error
import urllib.request

import numpy as np
import pytest

from waveflow.checkpoints import native

from .conftest import npy
from .test_run import samples
from .test_vocode import close

ray = pytest.importorskip("ray", reason="needs the extra: pip install 'waveflow[ray]'")
serve = pytest.importorskip("ray.serve", reason="needs the extra: pip install 'waveflow[ray]'", exc_type=ImportError)


@pytest.fixture
def cluster():
    """Ray on this machine alone, its proxy at a free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    yield f"http://127.0.0.1:{port}"
    ray.shutdown()


@pytest.mark.slow
def test_a_replica_under_ray_serves_the_offline_audio(cluster, vocoder, mel, tmp_path):
    from waveflow.serve.ray import deploy

    native.save(vocoder.model, tmp_path / "small")
    serve.run(deploy({"model": str(tmp_path / "small"), "max_seconds": "4"}), route_prefix="/")
    url = f"{cluster}/v1/vocode?seed=1&format=f32"
    with urllib.request.urlopen(url, npy(mel), timeout=120) as answer:
        close(samples(answer.read()), vocoder(mel, seed=1))
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url, npy(np.tile(mel, 5)), timeout=120)
    assert refused.value.code == 413


def test_unknown_options_are_named():
    from waveflow.serve.ray import deploy

    with pytest.raises(ValueError, match="unknown options modle"):
        deploy({"modle": "x"})
