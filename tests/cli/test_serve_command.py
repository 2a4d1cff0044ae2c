import sys

import pytest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--token-file", "nowhere"], "the token file nowhere cannot be read"),
        (["--max-requests", 0], "max_requests is 0"),
        (["-m", "nonesuch"], "no model 'nonesuch'"),
    ],
)
def test_wrong_settings_end_before_the_server_starts(run, checkpoint, arguments, message):
    pytest.importorskip("fastapi", reason="needs the extra: pip install 'waveflow[serve]'")
    arguments = arguments if "-m" in arguments else [*arguments, "-m", checkpoint]
    code, _, err = run("serve", *arguments)
    assert code == 2
    assert message in err


def test_a_token_that_cannot_be_sent_is_refused_without_showing_it(run, checkpoint, tmp_path):
    pytest.importorskip("fastapi", reason="needs the extra: pip install 'waveflow[serve]'")
    (tmp_path / "token").write_text("my secret")
    code, _, err = run("serve", "-m", checkpoint, "--token-file", tmp_path / "token")
    assert code == 2
    assert "the token is empty or has characters" in err
    assert "secret" not in err


def test_without_the_extra_the_command_says_what_to_install(run, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("waveflow.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    code, _, err = run("serve")
    assert code == 2
    assert "pip install 'waveflow[serve]'" in err
