"""The `waveflow` command."""
