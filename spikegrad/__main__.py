"""`python -m spikegrad` is `spikegrad`."""

from spikegrad.cli.main import run

if __name__ == "__main__":
    run()
