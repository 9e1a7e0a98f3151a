"""64 by 64 bits transposed, by every instruction set that this CPU has."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from spikegrad.kernels.cpu import build, instructions

SOURCES = Path(build.__code__.co_filename).parent / "src"
FLAGS = {"avx512": "-march=x86-64-v4", "avx2": "-march=x86-64-v3", "generic": "-O1"}
COMPILER = shutil.which("g++") or shutil.which("c++")
PROGRAM = """
#include "simd/transpose_bits.h"
#include <cstdio>
#include <random>
#include <vector>
int main() {
  std::mt19937_64 random(1);
  int wrong = 0;
  for (int rows : {0, 1, 7, 8, 9, 33, 63, 64})
    for (int words = 1; words <= 8; ++words) {
      const int stride = words + 3;
      // No word more than there is, so that a sanitizer would see a read behind them.
      std::vector<uint64_t> from(rows ? (rows - 1) * stride + words : 0);
      for (uint64_t& word : from) word = random();
      uint64_t to[8][64];
      spikegrad::transpose_bits(from.data(), stride, rows, words, to);
      for (int w = 0; w < words; ++w)
        for (int c = 0; c < 64; ++c)
          for (int r = 0; r < 64; ++r) {
            const bool want = r < rows && (from[r * stride + w] >> c & 1);
            wrong += want != static_cast<bool>(to[w][c] >> r & 1);
          }
    }
  std::printf("%d wrong", wrong);
}
"""


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
@pytest.mark.parametrize("flags", [*FLAGS, "native"])
def test_bits_are_transposed(flags: str, tmp_path: Path) -> None:
    name = instructions.best() if flags == "native" else flags
    if lacks := instructions.missing(name):
        pytest.skip(f"this CPU has not {lacks}")
    (tmp_path / "program.cpp").write_text(PROGRAM)
    target = "-march=native" if flags == "native" else FLAGS[flags]
    define = f"-DSPIKEGRAD_SIMD_{name.upper()}"
    command = [COMPILER, "-std=c++20", "-O1", target, define, f"-I{SOURCES}", "program.cpp"]
    subprocess.run([*command, "-o", "program"], cwd=tmp_path, check=True)
    ran = subprocess.run([tmp_path / "program"], capture_output=True, text=True, check=True)
    assert ran.stdout == "0 wrong"
