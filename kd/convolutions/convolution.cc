// Convolutions of oneDNN as a custom call of XLA: forward, gradient of the maps, gradient of the
// kernel. Compiled at first use, see library.py.
//
// Threads. oneDNN runs on one thread at a time here. A call is cut into tasks by its examples, and
// XLA's own pool runs the tasks, so nothing is oversubscribed and no OpenMP team exists. How a call
// is cut depends on its shapes alone: results have the same bits for any number of threads.

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "oneapi/dnnl/dnnl.hpp"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using dnnl::memory;
using Dims = memory::dims;
using Type = memory::data_type;

namespace {

enum Kind : int64_t { kForward, kMaps, kKernel };

// The attribute `problem`: a convolution maps [n, h, w, c] * kernel -> outputs [n, oh, ow, o], in
// which the gradients are named as the forward pass names its arrays. Maps are contiguous; the
// kernel has any order of its axes, given by its strides in elements. There are `stack` of them,
// such as the networks of several seeds, one after the other in each array.
struct Problem {
  int64_t kind, stack, n, h, w, c, oh, ow, o, kh, kw, groups;
  int64_t stride_h, stride_w, dilation_h, dilation_w, top, left;
  int64_t step_g, step_o, step_i, step_h, step_w;  // strides of the kernel
};
constexpr size_t kNumbers = sizeof(Problem) / sizeof(int64_t);

dnnl::engine& Engine() {
  static auto* engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *engine;
}

// oneDNN asks OpenMP how many threads it has: one, while this object lives.
class OneThread {
 public:
  OneThread() : before_(Get() ? Get()() : 1) { Set(1); }
  ~OneThread() { Set(before_); }

 private:
  static void* Symbol(const char* name) {
    void* library = dlopen("libgomp.so.1", RTLD_LAZY | RTLD_NOLOAD);
    return library ? dlsym(library, name) : nullptr;
  }
  static int (*Get())() {
    static auto get = reinterpret_cast<int (*)()>(Symbol("omp_get_max_threads"));
    return get;
  }
  static void Set(int threads) {
    static auto set = reinterpret_cast<void (*)(int)>(Symbol("omp_set_num_threads"));
    if (set) set(threads);
  }
  int before_;
};

// Memory that is kept for the next call: pages that are new cost as much as a small convolution.
class Buffer {
 public:
  explicit Buffer(size_t size) {
    if (!size) return;
    {
      std::lock_guard<std::mutex> lock(Mutex());
      auto found = Free().lower_bound(size);
      if (found != Free().end() && found->first <= 4 * size + 65536) {
        size_ = found->first, data_ = found->second;
        Free().erase(found);
        return;
      }
    }
    size_ = (size + 4095) / 4096 * 4096;
    data_ = std::aligned_alloc(64, size_);
    if (!data_) throw std::bad_alloc();
  }
  ~Buffer() {
    if (!data_) return;
    std::lock_guard<std::mutex> lock(Mutex());
    Free().emplace(size_, data_);
  }
  Buffer(Buffer&& other) noexcept : size_(other.size_), data_(std::exchange(other.data_, nullptr)) {}
  Buffer(const Buffer&) = delete;
  void* data() const { return data_; }

 private:
  static std::mutex& Mutex() { static auto* mutex = new std::mutex; return *mutex; }
  static std::multimap<size_t, void*>& Free() {
    static auto* free = new std::multimap<size_t, void*>;
    return *free;
  }
  size_t size_ = 0;
  void* data_ = nullptr;
};

// The primitive for a number of examples.
struct Piece {
  dnnl::primitive primitive;
  memory::desc maps, kernel, outputs, scratch;
  std::string implementation;
};

// How a problem is computed: by `count` pieces of at most `size` examples.
struct Plan {
  Problem problem;
  int64_t size, count;
  Piece full, last;
  memory::desc kernel;  // as XLA has it
  dnnl::reorder reorder;  // of the kernel: to the primitive's order, or from it
  bool reorders;
  size_t map_bytes, output_bytes;  // of one example
  size_t kernel_bytes;
};

// Examples of one task: work of about a third of a millisecond on a fast core, and for a kernel's
// gradient enough of it that adding up the tasks' results costs little.
int64_t Examples(const Problem& p, Type type) {
  const bool low = type == Type::bf16;
  const int64_t positions = std::max<int64_t>(p.oh * p.ow, 1);
  const int64_t work = positions * p.o * (p.c / p.groups) * p.kh * p.kw;  // of one example
  int64_t size = ((low ? 64000000 : 16000000) + work - 1) / std::max<int64_t>(work, 1);
  if (p.kind == kKernel) size = std::max(size, ((low ? 4096 : 2048) + positions - 1) / positions);
  size = std::max(size, (p.n + 63) / 64);
  const int64_t count = std::max<int64_t>(p.n / std::min(size, p.n), 1);
  return (p.n + count - 1) / count;
}

Piece MakePiece(const Problem& p, int64_t n, Type maps_type, Type kernel_type, Type out_type) {
  using tag = memory::format_tag;
  Piece piece;
  const Dims maps_dims{n, p.c, p.h, p.w}, out_dims{n, p.o, p.oh, p.ow};
  const Dims kernel_dims = p.groups == 1
      ? Dims{p.o, p.c, p.kh, p.kw}
      : Dims{p.groups, p.o / p.groups, p.c / p.groups, p.kh, p.kw};
  const memory::desc maps(maps_dims, maps_type, tag::nhwc), outputs(out_dims, out_type, tag::nhwc);
  const memory::desc kernel(kernel_dims, kernel_type, tag::any);
  const Dims strides{p.stride_h, p.stride_w}, dilations{p.dilation_h - 1, p.dilation_w - 1};
  const Dims before{p.top, p.left};
  const Dims after{(p.oh - 1) * p.stride_h + (p.kh - 1) * p.dilation_h + 1 - p.h - p.top,
                   (p.ow - 1) * p.stride_w + (p.kw - 1) * p.dilation_w + 1 - p.w - p.left};
  const auto direct = dnnl::algorithm::convolution_direct;
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  attributes.set_fpmath_mode(dnnl::fpmath_mode::strict);
  const auto fill = [&](const auto& chosen) {
    piece.scratch = chosen.scratchpad_desc();
    piece.implementation = chosen.impl_info_str();
  };
  auto& engine = Engine();
  if (p.kind == kForward) {
    dnnl::convolution_forward::primitive_desc chosen(
        engine, dnnl::prop_kind::forward_inference, direct, maps, kernel, outputs, strides,
        dilations, before, after, attributes);
    piece.primitive = dnnl::convolution_forward(chosen);
    piece.kernel = chosen.weights_desc();
    fill(chosen);
  } else {
    // The forward pass that the gradient belongs to has operands and result of one type.
    const memory::desc low_kernel(kernel_dims, p.kind == kKernel ? maps_type : kernel_type, tag::any);
    const memory::desc low_maps(maps_dims, p.kind == kMaps ? kernel_type : maps_type, tag::nhwc);
    dnnl::convolution_forward::primitive_desc hint(
        engine, dnnl::prop_kind::forward_training, direct, low_maps, low_kernel, outputs, strides,
        dilations, before, after, attributes);
    if (p.kind == kMaps) {
      dnnl::convolution_backward_data::primitive_desc chosen(
          engine, direct, maps, kernel, outputs, strides, dilations, before, after, hint,
          attributes);
      piece.primitive = dnnl::convolution_backward_data(chosen);
      piece.kernel = chosen.weights_desc();
      fill(chosen);
    } else {
      dnnl::convolution_backward_weights::primitive_desc chosen(
          engine, direct, maps, kernel, outputs, strides, dilations, before, after, hint,
          attributes);
      piece.primitive = dnnl::convolution_backward_weights(chosen);
      piece.kernel = chosen.diff_weights_desc();
      fill(chosen);
    }
  }
  piece.maps = maps;
  piece.outputs = outputs;
  return piece;
}

std::shared_ptr<Plan> MakePlan(const Problem& p, Type maps, Type kernel, Type outputs) {
  OneThread one;
  auto plan = std::make_shared<Plan>();
  plan->problem = p;
  plan->size = Examples(p, outputs);
  plan->count = (p.n + plan->size - 1) / plan->size;
  // Parts of a kernel's gradient are added up in float32.
  const Type partial = p.kind == kKernel ? Type::f32 : kernel;
  plan->full = MakePiece(p, plan->size, maps, partial, outputs);
  const int64_t rest = p.n - (plan->count - 1) * plan->size;
  plan->last = rest == plan->size ? plan->full : MakePiece(p, rest, maps, partial, outputs);
  if (plan->last.kernel != plan->full.kernel) {  // one order of the kernel must serve all pieces
    plan->size = p.n, plan->count = 1;
    plan->full = plan->last = MakePiece(p, p.n, maps, partial, outputs);
  }
  const int64_t inputs = p.c / p.groups, per_group = p.o / p.groups;
  plan->kernel = p.groups == 1
      ? memory::desc({p.o, p.c, p.kh, p.kw}, kernel, Dims{p.step_o, p.step_i, p.step_h, p.step_w})
      : memory::desc({p.groups, per_group, inputs, p.kh, p.kw}, kernel,
                     Dims{p.step_g, p.step_o, p.step_i, p.step_h, p.step_w});
  plan->reorders = plan->kernel != plan->full.kernel;
  if (plan->reorders) {
    auto& engine = Engine();
    const auto chosen = p.kind == kKernel
        ? dnnl::reorder::primitive_desc(engine, plan->full.kernel, engine, plan->kernel)
        : dnnl::reorder::primitive_desc(engine, plan->kernel, engine, plan->full.kernel);
    plan->reorder = dnnl::reorder(chosen);
  }
  plan->map_bytes = p.h * p.w * p.c * memory::data_type_size(maps);
  plan->output_bytes = p.oh * p.ow * p.o * memory::data_type_size(outputs);
  plan->kernel_bytes = p.kh * p.kw * inputs * p.o * memory::data_type_size(kernel);
  return plan;
}

// The plan of a problem. Raises dnnl::error where oneDNN has none on this CPU.
std::shared_ptr<Plan> GetPlan(const Problem& p, Type maps, Type kernel, Type outputs) {
  static auto* mutex = new std::shared_mutex;
  static auto* plans = new std::map<std::vector<int64_t>, std::shared_ptr<Plan>>;
  const auto* numbers = reinterpret_cast<const int64_t*>(&p);
  std::vector<int64_t> key(numbers, numbers + kNumbers);
  for (Type type : {maps, kernel, outputs}) key.push_back(static_cast<int64_t>(type));
  {
    std::shared_lock<std::shared_mutex> lock(*mutex);
    const auto found = plans->find(key);
    if (found != plans->end()) return found->second;
  }
  std::unique_lock<std::shared_mutex> lock(*mutex);
  const auto found = plans->find(key);
  if (found != plans->end()) return found->second;
  auto plan = MakePlan(p, maps, kernel, outputs);  // where it throws, nothing is kept
  return plans->emplace(std::move(key), std::move(plan)).first->second;
}

// Runs task(0) ... task(count - 1) on this thread and on those of the pool that are free. A thread
// takes a task only when it can run it, so waiting for the others cannot block.
void ForEach(ffi::ThreadPool& pool, int64_t count, const std::function<void(int64_t)>& task) {
  const int64_t helpers = std::min<int64_t>(count, pool.num_threads()) - 1;
  if (helpers < 1) {
    for (int64_t i = 0; i < count; ++i) task(i);
    return;
  }
  struct Shared {
    std::atomic<int64_t> next{0};
    int64_t done = 0;
    std::mutex mutex;
    std::condition_variable finished;
    std::exception_ptr error;
  };
  auto shared = std::make_shared<Shared>();
  // `task` is used only for numbers below `count`, all of which are done before this returns.
  const auto work = [shared, count, &task] {
    int64_t mine = 0;
    for (int64_t i; (i = shared->next.fetch_add(1)) < count; ++mine) {
      try {
        task(i);
      } catch (...) {
        std::lock_guard<std::mutex> lock(shared->mutex);
        shared->error = std::current_exception();
      }
    }
    if (!mine) return;
    std::lock_guard<std::mutex> lock(shared->mutex);
    shared->done += mine;
    if (shared->done == count) shared->finished.notify_all();
  };
  for (int64_t i = 0; i < helpers; ++i) pool.Schedule(std::function<void()>(work));
  work();
  std::unique_lock<std::mutex> lock(shared->mutex);
  shared->finished.wait(lock, [&] { return shared->done == count; });
  if (shared->error) std::rethrow_exception(shared->error);
}

void Run(const Plan& plan, ffi::ThreadPool& pool, char* maps, char* kernel, char* outputs) {
  auto& engine = Engine();
  const Problem& p = plan.problem;
  const bool gradient = p.kind == kKernel;
  // Kernels in the primitive's order; of a gradient, one for each task.
  const size_t bytes = plan.full.kernel.get_size(), step = (bytes + 63) / 64 * 64;
  const int64_t tasks = p.stack * plan.count;
  const bool apart = plan.reorders || (gradient && plan.count > 1);
  const Buffer ordered(apart ? (gradient ? tasks : p.stack) * step : 0);
  const auto at = [&](int64_t j, int64_t i) {  // kernel j of the stack, for task i
    if (!apart) return kernel + j * plan.kernel_bytes;
    return static_cast<char*>(ordered.data()) + (gradient ? j * plan.count + i : j) * step;
  };
  const auto reorder = [&](int64_t j) {
    OneThread one;
    dnnl::stream stream(engine);
    memory plain(plan.kernel, engine, kernel + j * plan.kernel_bytes);
    memory blocked(plan.full.kernel, engine, at(j, 0));
    gradient ? plan.reorder.execute(stream, blocked, plain)
             : plan.reorder.execute(stream, plain, blocked);
    stream.wait();
  };
  if (plan.reorders && !gradient) ForEach(pool, p.stack, reorder);
  ForEach(pool, tasks, [&](int64_t task) {
    OneThread one;
    const int64_t j = task / plan.count, i = task % plan.count, first = j * p.n + i * plan.size;
    const Piece& piece = i + 1 == plan.count ? plan.last : plan.full;
    dnnl::stream stream(engine);
    const memory m(piece.maps, engine, maps + first * plan.map_bytes);
    const memory k(piece.kernel, engine, at(j, i));
    const memory o(piece.outputs, engine, outputs + first * plan.output_bytes);
    const Buffer scratch(piece.scratch.get_size());
    std::unordered_map<int, memory> arguments;
    if (p.kind == kForward) {
      arguments = {{DNNL_ARG_SRC, m}, {DNNL_ARG_WEIGHTS, k}, {DNNL_ARG_DST, o}};
    } else if (p.kind == kMaps) {
      arguments = {{DNNL_ARG_DIFF_SRC, m}, {DNNL_ARG_WEIGHTS, k}, {DNNL_ARG_DIFF_DST, o}};
    } else {
      arguments = {{DNNL_ARG_SRC, m}, {DNNL_ARG_DIFF_WEIGHTS, k}, {DNNL_ARG_DIFF_DST, o}};
    }
    if (scratch.data()) {
      arguments[DNNL_ARG_SCRATCHPAD] = memory(piece.scratch, engine, scratch.data());
    }
    piece.primitive.execute(stream, arguments);
    stream.wait();
  });
  if (!gradient || !apart) return;
  ForEach(pool, p.stack, [&](int64_t j) {
    float* sum = reinterpret_cast<float*>(at(j, 0));
    for (int64_t i = 1; i < plan.count; ++i) {
      const float* part = reinterpret_cast<const float*>(at(j, i));
      for (size_t k = 0; k < bytes / sizeof(float); ++k) sum[k] += part[k];
    }
    if (plan.reorders) {
      reorder(j);
    } else {
      std::memcpy(kernel + j * plan.kernel_bytes, sum, bytes);
    }
  });
}

bool GetType(ffi::DataType type, Type* result) {
  if (type == ffi::DataType::F32) return *result = Type::f32, true;
  if (type == ffi::DataType::BF16) return *result = Type::bf16, true;
  return false;
}

ffi::Error Convolution(ffi::ThreadPool pool, ffi::AnyBuffer first, ffi::AnyBuffer second,
                       ffi::Result<ffi::AnyBuffer> result, ffi::Span<const int64_t> problem) {
  Problem p;
  if (problem.size() != kNumbers) return ffi::Error::InvalidArgument("wrong number of numbers");
  std::memcpy(&p, problem.begin(), sizeof p);
  Type a, b, c;
  if (!GetType(first.element_type(), &a) || !GetType(second.element_type(), &b) ||
      !GetType(result->element_type(), &c)) {
    return ffi::Error::InvalidArgument("expected float32 or bfloat16");
  }
  char* x = static_cast<char*>(first.untyped_data());
  char* y = static_cast<char*>(second.untyped_data());
  char* z = static_cast<char*>(result->untyped_data());
  try {
    switch (p.kind) {
      case kForward: Run(*GetPlan(p, a, b, c), pool, x, y, z); break;
      case kMaps: Run(*GetPlan(p, c, b, a), pool, z, y, x); break;
      default: Run(*GetPlan(p, a, c, b), pool, x, z, y); break;
    }
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string("oneDNN: ") + error.what());
  }
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(kd_convolution, Convolution,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<ffi::Span<const int64_t>>("problem"));

// The name of oneDNN's implementation of a problem on this CPU; empty where it has none. Types are
// those of maps, kernel and outputs: 0 float32, 1 bfloat16.
extern "C" const char* kd_convolution_implementation(const int64_t* problem, const int* types) {
  Problem p;
  std::memcpy(&p, problem, sizeof p);
  const auto type = [&](int i) { return types[i] ? Type::bf16 : Type::f32; };
  try {
    return GetPlan(p, type(0), type(1), type(2))->full.implementation.c_str();
  } catch (const std::exception&) {
    return "";
  }
}

extern "C" int kd_convolution_version() {
  const auto* version = dnnl_version();
  return version->major * 10000 + version->minor * 100 + version->patch;
}
