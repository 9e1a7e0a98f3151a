"""`python -m spikegrad` is `spikegrad`."""

from spikegrad.cli.entry import run

if __name__ == "__main__":
    run()
