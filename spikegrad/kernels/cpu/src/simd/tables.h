// Which lanes go where when eight are compressed or expanded, by the mask's eight bits.
#pragma once

#include <cstdint>

namespace spikegrad {

struct LaneTable {
  alignas(64) uint8_t at[256][8];
};
// at[bits][k]: the lane that compresses to place k.
inline constexpr LaneTable kCompressTable = [] {
  LaneTable made{};
  for (int bits = 0; bits < 256; ++bits)
    for (int j = 0, k = 0; j < 8; ++j)
      if (bits >> j & 1) made.at[bits][k++] = static_cast<uint8_t>(j);
  return made;
}();
// at[bits][j]: the place from which lane j is expanded.
inline constexpr LaneTable kExpandTable = [] {
  LaneTable made{};
  for (int bits = 0; bits < 256; ++bits)
    for (int j = 0, k = 0; j < 8; ++j)
      if (bits >> j & 1) made.at[bits][j] = static_cast<uint8_t>(k++);
  return made;
}();

}  // namespace spikegrad
