"""`python -m waveflow` is the `waveflow` command."""

from waveflow.cli.main import main

if __name__ == "__main__":
    main()
