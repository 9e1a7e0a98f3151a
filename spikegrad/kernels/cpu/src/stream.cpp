// One step at a time of layers that keep their states here: of a call nothing is turned around,
// checked again or allocated but the output.
#include "layer_engine.h"

#include <map>
#include <mutex>

namespace spikegrad {
namespace {

// What enters a layer: numbers [B, I], or spikes as words [B][tiles].
template <class T>
struct Signal {
  const T* numbers;
  const uint64_t* bits;
};

// A connection, and the neurons behind it if there are any, where they stand.
template <class T>
struct StreamLayer {
  int64_t batch, inputs, outputs, tiles;
  const Program* program;           // null: a connection alone
  Scratch<T> weights, bias, back;   // in tiles
  Scratch<T> params, states, y;     // y: [B, outputs] of what returns numbers
  Scratch<uint64_t> words, before;  // [B][tiles]: what enters that is not 0; the last spikes
  Scratch<uint16_t> list, back_list;
  std::vector<int32_t> count, back_count;
  bool events;  // what enters are spikes, or zeros and ones

  // The columns of what enters and of the last spikes, row by row.
  void lists(const Signal<T>& in) {
    const int64_t wide = tiles_of(inputs);
    events = true;
    for (int64_t b = 0; b < batch; ++b) {
      const uint64_t* row = in.bits ? in.bits + b * wide : words + b * wide;
      for (int64_t w = 0; !in.bits && w < wide; ++w) {
        const T* from = in.numbers + b * inputs + w * kTile;
        bool odd = false;
        const uint64_t ones = ones_of(from, columns_of(w, inputs), odd);
        words[b * wide + w] = odd ? nonzero_word(from, columns_of(w, inputs)) : ones;
        events = events && !odd;
      }
      count[b] = static_cast<int32_t>(list_row(row, wide, list + b * (inputs + kListSlack)));
    }
    for (int64_t b = 0; back && b < batch; ++b)
      back_count[b] = static_cast<int32_t>(
          list_row(before + b * tiles, tiles, back_list + b * (outputs + kListSlack)));
  }

  void current(const Signal<T>& in, int64_t tile, int64_t b, T* to) const {
    Lane<T> sum[kVectors<T>] = {};
    if (bias) load_row(bias + tile * kTile, kTile, sum);
    const uint16_t* row = list + b * (inputs + kListSlack);
    const T* w = weights + tile * inputs * kTile;
    if (events) add_rows(sum, w, row, count[b]);
    for (int32_t e = 0; !events && e < count[b]; ++e) {
      const Lane<T> value = all_of(in.numbers[b * inputs + row[e]]);
      for (int v = 0; v < kVectors<T>; ++v)
        sum[v] = fused<T>(value, load(w + int64_t{row[e]} * kTile + v * kLanes<T>), sum[v]);
    }
    if (back && back_count[b]) {
      Lane<T> more[kVectors<T>] = {};
      add_rows(more, back + tile * outputs * kTile, back_list + b * (outputs + kListSlack),
               back_count[b]);
      for (int v = 0; v < kVectors<T>; ++v) sum[v] = sum[v] + more[v];
    }
    store_row(sum, kTile, to, false);
  }

  Signal<T> step(const Signal<T>& in) {
    alignas(64) T x[kGroup * kTile], made[kGroup * kTile];
    lists(in);
    for (int64_t tile = 0; tile < tiles; ++tile)
      for (int64_t b = 0; b < batch; b += kGroup) {
        const int64_t rows = std::min(kGroup, batch - b);
        for (int64_t k = 0; k < rows; ++k) current(in, tile, b + k, x + k * kTile);
        if (program) neurons(tile, b, rows, x, made);
        for (int64_t k = 0; y && k < rows; ++k)
          std::memcpy(y + (b + k) * outputs + tile * kTile, (program ? made : x) + k * kTile,
                      columns_of(tile, outputs) * sizeof(T));
      }
    return y ? Signal<T>{y, nullptr} : Signal<T>{nullptr, before};
  }
  void neurons(int64_t tile, int64_t b, int64_t rows, const T* x, T* made) const {
    RowsStep<T> c{};
    c.rows = rows, c.n = columns_of(tile, outputs), c.x = x, c.x_row = kTile;
    c.params = params + (program->each ? tile * program->parameters * kTile : 0);
    c.states = states + (tile * batch + b) * kTile, c.state = tiles * batch * kTile;
    c.spikes = before ? before + b * tiles + tile : nullptr, c.word = tiles;
    c.y = made, c.y_row = kTile;
    reinterpret_cast<RowsFunction<T>>(program->forward)(c);
  }
};

struct AnyStream {
  virtual ~AnyStream() = default;
  virtual void add(int64_t program, const Tensor& weight, const Maybe& bias, const Maybe& feedback,
                   const Tensor& params) = 0;
  virtual void take(int64_t layer, const Tensor& states, const Maybe& last) = 0;
  virtual std::tuple<Tensor, Tensor> states(int64_t layer) const = 0;
  virtual Tensor step(const Tensor& x) = 0;
};

template <class T>
class Stream : public AnyStream {
 public:
  Stream(int64_t batch, ScalarType dtype) : batch_(batch), dtype_(dtype) {
    SG_CHECK(batch > 0 && batch < 65536, "a stream has 1 to 65,535 samples");
  }
  void add(int64_t program, const Tensor& weight, const Maybe& bias, const Maybe& feedback,
           const Tensor& params) override {
    StreamLayer<T> f{};
    f.program = program ? &program_of(program) : nullptr;
    SG_CHECK(!program || f.program->inputs == 1, "a stream has neurons with one input");
    SG_CHECK(!f.program || f.program->wide == (dtype_ == ScalarType::Double),
             "a program of another dtype");
    SG_CHECK(weight.dim() == 2 && weight.numel() > 0, "the weight must be [N, I]");
    const int64_t outputs = weight.size(0);
    f.batch = batch_, f.outputs = outputs, f.tiles = tiles_of(outputs);
    f.inputs = weight.size(1);
    SG_CHECK(layers_.empty() || layers_.back().outputs == f.inputs, "layers that do not fit");
    SG_CHECK(f.inputs <= kMostColumns && outputs <= kMostColumns,
             "layers of a stream have at most 65,536 inputs and outputs");
    check_tensor(weight, {outputs, f.inputs}, dtype_, "the weight must be a contiguous [N, I]");
    check_tensor(bias, {outputs}, dtype_, "the bias must be [N]");
    check_tensor(feedback, {outputs, outputs}, dtype_, "the feedback must be a contiguous [N, N]");
    f.words = Scratch<uint64_t>(batch_ * tiles_of(f.inputs));
    f.list = Scratch<uint16_t>(batch_ * (f.inputs + kListSlack)), f.count.resize(batch_);
    f.weights = tiled(data<T>(weight), outputs, f.inputs);
    if (bias.has_value()) f.bias = tile_params(data<T>(bias), 1, outputs);
    if (f.program) neurons(f, params);
    if (feedback.has_value()) {
      SG_CHECK(f.before, "feedback is of spikes");
      f.back = tiled(data<T>(feedback), outputs, outputs);
      f.back_list = Scratch<uint16_t>(batch_ * (outputs + kListSlack));
      f.back_count.resize(batch_);
    }
    if (!f.before) f.y = Scratch<T>(batch_ * outputs);
    layers_.push_back(std::move(f));
  }
  void take(int64_t layer, const Tensor& states, const Maybe& last) override {
    StreamLayer<T>& f = neurons_at(layer);
    const int64_t kinds = f.program->states;
    SG_CHECK(states.dim() == 3, "states must be [states, 1 or B, 1 or N]");
    const int64_t rows = states.size(1), columns = states.size(2);
    check_tensor(states, {kinds, rows == 1 ? 1 : batch_, columns == 1 ? 1 : f.outputs}, dtype_,
                 "states must be [states, 1 or B, 1 or N]");
    check_tensor(last, {batch_, f.outputs}, dtype_, "the last spikes must be [B, N]");
    to_tiles(states, kinds, batch_, f.outputs, false, f.states.get());
    if (f.before) std::memset(f.before, 0, batch_ * f.tiles * sizeof(uint64_t));
    if (f.before && last.has_value()) pack(data<T>(last), batch_, f.outputs, f.before.get());
  }
  std::tuple<Tensor, Tensor> states(int64_t layer) const override {
    const StreamLayer<T>& f = const_cast<Stream*>(this)->neurons_at(layer);
    Tensor last = fresh_tensor({f.back ? batch_ : 0, f.outputs}, dtype_);
    if (f.back) unpack(f.before.get(), batch_, f.outputs, mutable_data<T>(last));
    return {from_tiles(f.states.get(), f.program->states, batch_, f.outputs, dtype_), last};
  }
  Tensor step(const Tensor& x) override {
    SG_CHECK(!layers_.empty(), "a stream has layers");
    check_tensor(x, {batch_, layers_.front().inputs}, dtype_, "x must be a contiguous [B, I]");
    const FlushSubnormals flush;
    Signal<T> signal{data<T>(x), nullptr};
    for (StreamLayer<T>& layer : layers_) signal = layer.step(signal);
    const int64_t n = layers_.back().outputs;
    Tensor y = fresh_tensor({batch_, n}, dtype_);
    T* to = mutable_data<T>(y);
    if (signal.numbers) std::memcpy(to, signal.numbers, batch_ * n * sizeof(T));
    for (int64_t b = 0; signal.bits && b < batch_; ++b)
      unpack_row(signal.bits + b * tiles_of(n), n, to + b * n);
    return y;
  }

 private:
  void neurons(StreamLayer<T>& f, const Tensor& params) const {
    const Program& p = *f.program;
    check_tensor(params, {p.parameters, p.each ? f.outputs : 1}, dtype_,
                 "parameters must be [parameters, 1 or N]");
    const int64_t many = p.parameters * (p.each ? f.tiles * kTile : 1);
    if (p.each) f.params = tile_params(data<T>(params), p.parameters, f.outputs);
    if (!p.each) {
      f.params = Scratch<T>(many);
      std::memcpy(f.params, data<T>(params), many * sizeof(T));
    }
    f.states = Scratch<T>(p.states * f.tiles * batch_ * kTile);
    if (p.spikes) f.before = Scratch<uint64_t>(batch_ * f.tiles);
  }
  StreamLayer<T>& neurons_at(int64_t layer) {
    SG_CHECK(layer >= 0 && layer < static_cast<int64_t>(layers_.size()) && layers_[layer].program,
             "a layer of the stream with neurons");
    return layers_[layer];
  }

  const int64_t batch_;
  const ScalarType dtype_;
  std::vector<StreamLayer<T>> layers_;
};

// Streams by their keys, as long as Python holds them.
struct Streams {
  std::mutex mutex;
  std::map<int64_t, std::unique_ptr<AnyStream>> known;
  int64_t last = 0;
};
Streams& streams() {
  static Streams* all = new Streams;
  return *all;
}
AnyStream& stream_of(int64_t key) {
  std::lock_guard<std::mutex> guard(streams().mutex);
  const auto found = streams().known.find(key);
  SG_CHECK(found != streams().known.end(), "a stream that is there");
  return *found->second;
}

// like: of the stream's dtype.
int64_t stream_new(int64_t batch, const Tensor& like) {
  const ScalarType dtype = like.scalar_type();
  auto made = by_type(dtype, [&]<class T>() -> std::unique_ptr<AnyStream> {
    return std::make_unique<Stream<T>>(batch, dtype);
  });
  std::lock_guard<std::mutex> guard(streams().mutex);
  streams().known[++streams().last] = std::move(made);
  return streams().last;
}
void stream_free(int64_t key) {
  std::lock_guard<std::mutex> guard(streams().mutex);
  streams().known.erase(key);
}
// program: the neurons' key, 0: none.
void stream_add(int64_t key, int64_t program, const Tensor& weight, const Maybe& bias,
                const Maybe& feedback, const Tensor& params) {
  stream_of(key).add(program, weight, bias, feedback, params);
}
void stream_take(int64_t key, int64_t layer, const Tensor& states, const Maybe& last) {
  stream_of(key).take(layer, states, last);
}
// -> (states [states, B, N], the last spikes [B, N] where they are fed back, else [0, N])
std::tuple<Tensor, Tensor> stream_states(int64_t key, int64_t layer) {
  return stream_of(key).states(layer);
}
Tensor stream_step(int64_t key, const Tensor& x) { return stream_of(key).step(x); }

}  // namespace
}  // namespace spikegrad

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CompositeExplicitAutograd, m) {
  m.impl("stream_new", TORCH_BOX(&spikegrad::stream_new));
  m.impl("stream_free", TORCH_BOX(&spikegrad::stream_free));
  m.impl("stream_add", TORCH_BOX(&spikegrad::stream_add));
  m.impl("stream_take", TORCH_BOX(&spikegrad::stream_take));
  m.impl("stream_states", TORCH_BOX(&spikegrad::stream_states));
  m.impl("stream_step", TORCH_BOX(&spikegrad::stream_step));
}
