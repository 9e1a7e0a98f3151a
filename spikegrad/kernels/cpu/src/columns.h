// Spikes column by column: in which rows of a chunk a column spiked.
#pragma once

#include "spikes.h"

namespace spikegrad {

// Of bits [R, W], by chunks of rows and parts of words: the columns that spiked, those with as many
// spikes side by side, so that the loops over them are of one length for a while, and their rows.
class Columns {
 public:
  // A chunk has twice the rows where few spike: see weight_gradient.h. For 700 to 512, T B =
  // 12,800, that takes 0.3 ms off at 1.25 %, 0.2 at 2.5 %, and would cost 0.25 at 5 %. Places are
  // bytes.
  static constexpr int64_t kRows = 128, kMostRows = 2 * kRows;
  static constexpr double kFew = 0.035;
  int64_t parts, rows, chunks;
  bool few;

  Columns(const uint64_t* bits, int64_t all_rows, int64_t inputs, int64_t most_parts)
      : inputs_(inputs), words_(tiles_of(inputs)) {
    parts = std::clamp<int64_t>(most_parts, 1, words_);
    width_ = (words_ + parts - 1) / parts * 64;
    few = static_cast<double>(ones(bits, all_rows * words_)) <=
          kFew * static_cast<double>(all_rows * inputs);
    rows = few ? kMostRows : kRows, chunks = (all_rows + rows - 1) / rows;
    auto piece = [&](int64_t k) {
      const int64_t first = k / parts * rows, part = k % parts;
      return Piece{bits + first * words_, words_, std::min(all_rows - first, rows),
                   words_ * part / parts, words_ * (part + 1) / parts};
    };
    starts_ = Scratch<int64_t>(chunks * parts + 1);
    starts_[0] = 0;
    parallel_each(chunks * parts, 4, [&](int64_t k) { starts_[k + 1] = piece(k).ones(); });
    for (int64_t k = 0; k < chunks * parts; ++k) starts_[k + 1] += starts_[k];
    orders_ = Scratch<uint16_t>(chunks * parts * width_);
    runs_ = Scratch<Run>(chunks * parts * (rows + 1));
    places_ = Scratch<uint8_t>(starts_[chunks * parts] + kListSlack);
    parallel(chunks * parts, 1, [&](int64_t begin, int64_t end) {
      const Scratch<uint64_t> columns(width_ * (kMostRows / 64 + 1));
      const Scratch<uint8_t> aside(rows * width_ + kListSlack);
      // Behind the places of a piece lie those of the next ones: close to the end of what is this
      // thread's they go by memory of their own.
      for (int64_t k = begin; k < end; ++k)
        sort(piece(k), k, columns,
             starts_[k + 1] + kListSlack > starts_[end] ? aside.get() : nullptr);
    });
  }

  // f(column, its rows, how many they are)
  template <class F>
  [[gnu::always_inline]] void visit(int64_t chunk, int64_t part, const F& f) const {
    const int64_t at = chunk * parts + part;
    const uint16_t* column = orders_ + at * width_;
    const uint8_t* places = places_ + starts_[at];
    for (const Run* run = runs_ + at * (rows + 1); run->columns; ++run)
      for (int k = 0; k < run->columns; ++k, places += run->spikes)
        f(*column++, places, run->spikes);
  }

  // f(column) for those of the inputs that have no spike
  template <class F>
  void visit_silent(int64_t chunk, int64_t part, const F& f) const {
    const int64_t at = chunk * parts + part;
    const uint16_t* column = orders_ + at * width_;
    const uint16_t* const end = column + (words_ * (part + 1) / parts - words_ * part / parts) * 64;
    for (const Run* run = runs_ + at * (rows + 1); run->columns; ++run) column += run->columns;
    for (; column != end; ++column)
      if (*column < inputs_) f(*column);
  }

 private:
  struct Run {
    int32_t spikes, columns;
  };
  struct Piece {
    const uint64_t* bits;
    int64_t words, rows, first, last;
    int64_t ones() const {
      if (last - first == words) return count_of(bits, rows * words);
      int64_t count = 0;
      for (int64_t r = 0; r < rows; ++r) count += count_of(bits + r * words + first, last - first);
      return count;
    }
    // Its bits turned around: [64 rows][column], a word each.
    void turned(int64_t parts_of_rows, int64_t width, uint64_t* columns) const {
      for (int64_t w = first; w < last; w += 8)
        for (int64_t k = 0; k < parts_of_rows; ++k)
          transpose_bits(
              bits + k * 64 * words + w, words,
              static_cast<int>(std::clamp<int64_t>(rows - k * 64, 0, 64)),
              static_cast<int>(std::min<int64_t>(last - w, 8)),
              reinterpret_cast<uint64_t (*)[64]>(columns + k * width + (w - first) * 64));
    }
  };
  // columns: room for the turned piece and its counts. aside: where the places go first, or null.
  void sort(const Piece& piece, int64_t at, uint64_t* columns, uint8_t* aside) {
    const int64_t deep = rows / 64, many = (piece.last - piece.first) * 64;
    piece.turned(deep, width_, columns);
    uint16_t* counts = reinterpret_cast<uint16_t*>(columns + deep * width_);
    std::fill(counts, counts + many, 0);
    for (int64_t k = 0; k < deep; ++k)
      for (int64_t c = 0; c < many; ++c)
        counts[c] =
            static_cast<uint16_t>(counts[c] + __builtin_popcountll(columns[k * width_ + c]));
    int32_t next[kMostRows + 2] = {};
    for (int64_t c = 0; c < many; ++c) ++next[counts[c] + 1];
    Run* run = runs_ + at * (rows + 1);
    for (int count = 1; count <= rows; ++count)
      if (next[count + 1]) *run++ = {count, next[count + 1]};
    if (run != runs_ + (at + 1) * (rows + 1)) run->columns = 0;
    // Those without spikes go behind the others.
    next[0] = static_cast<int32_t>(many) - next[1], next[1] = 0;
    for (int count = 1; count <= rows; ++count) next[count + 1] += next[count];
    uint16_t* order = orders_ + at * width_;
    for (int64_t c = 0; c < many; ++c)
      order[next[counts[c]]++] = static_cast<uint16_t>(piece.first * 64 + c);
    uint8_t* const start = places_ + starts_[at];
    uint8_t* to = aside ? aside : start;
    for (int j = 0; j < next[rows]; ++j)
      for (int64_t k = 0; k < deep; ++k)
        to = list_ones(columns[k * width_ + order[j] - piece.first * 64], static_cast<int>(k * 64),
                       to);
    if (aside) std::memcpy(start, aside, to - aside);
  }

  int64_t inputs_, words_, width_;
  Scratch<int64_t> starts_;
  Scratch<uint16_t> orders_;
  Scratch<Run> runs_;
  Scratch<uint8_t> places_;
};

}  // namespace spikegrad
