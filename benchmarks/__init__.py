"""Measurements against other libraries; not part of the package that is installed.

`python -m benchmarks.peers` compares implementations, `python -m benchmarks.scaling` draws how time
and memory grow. `docs/benchmarks.md` says what is measured and how; `spikegrad bench` is the short
version that needs nothing of this.
"""
