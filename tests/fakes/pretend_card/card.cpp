// A pretend GPU for torch (PrivateUse1): tensors on "card:0" and "card:1" lie in the host's memory, and the CPU's kernels compute them.
// As a GPU it refuses tensors of two devices, has memory that may be full, and random numbers of its own. It counts kernels, what the
// host waits for, and which card was used at all.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_local_scalar_dense.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_cpu_dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_cpu_dispatch.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>
#include <atomic>
#include <functional>
#include <set>

namespace {
constexpr auto CARD = c10::DeviceType::PrivateUse1;
constexpr c10::DeviceIndex COUNT = 2;
thread_local c10::DeviceIndex current = 0;

struct Counts {
  std::atomic<int64_t> held{0}, peak{0}, reserved{0}, capacity{int64_t(8) << 30}, launched{0}, touched{0};
};
Counts of_card[COUNT];
std::atomic<int64_t> waits{0}, from_host{0};
void touch(c10::DeviceIndex card) { of_card[card].touched++; }

struct Guard final : c10::impl::DeviceGuardImplInterface {
  static constexpr c10::DeviceType static_type = CARD;
  Guard() = default;
  explicit Guard(c10::DeviceType) {}
  c10::DeviceType type() const override { return CARD; }
  c10::Device exchangeDevice(c10::Device d) const override {
    c10::Device old(CARD, current);
    current = d.index();
    return old;
  }
  c10::Device getDevice() const override { return {CARD, current}; }
  void setDevice(c10::Device d) const override { current = d.index(); }
  void uncheckedSetDevice(c10::Device d) const noexcept override { current = d.index(); }
  c10::Stream getStream(c10::Device d) const override { return c10::Stream(c10::Stream::DEFAULT, d); }
  c10::Stream getDefaultStream(c10::Device d) const override { return c10::Stream(c10::Stream::DEFAULT, d); }
  c10::Stream exchangeStream(c10::Stream s) const override { return c10::Stream(c10::Stream::DEFAULT, s.device()); }
  c10::DeviceIndex deviceCount() const noexcept override { return COUNT; }
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  void synchronizeDevice(const c10::DeviceIndex card) const override { touch(card), waits++; }
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const c10::DeviceIndex) const noexcept override {}
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Block {
  void* bytes;
  int64_t size;
  c10::DeviceIndex card;
};
void give_back(void* context) {
  auto* block = static_cast<Block*>(context);
  of_card[block->card].held -= block->size;
  std::free(block->bytes);
  delete block;
}
struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t size) override {
    auto& counts = of_card[current];
    touch(current);
    TORCH_CHECK_WITH(OutOfMemoryError, counts.held + int64_t(size) <= counts.capacity, "CUDA out of memory. Tried to allocate ", size, " bytes.");
    auto* block = new Block{size ? std::malloc(size) : nullptr, int64_t(size), current};
    counts.held += size;
    counts.peak = std::max(counts.peak.load(), counts.held.load());
    counts.reserved = std::max(counts.reserved.load(), counts.held.load());
    return {block->bytes, block, &give_back, c10::Device(CARD, current)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, size_t n) const override { default_copy_data(to, from, n); }
};
Memory memory;
REGISTER_ALLOCATOR(c10::DeviceType::PrivateUse1, &memory);

// Other numbers than the CPU's for the same seed, as on a GPU.
struct Chance final : at::CPUGeneratorImpl {
  explicit Chance(c10::DeviceIndex card) {
    device_ = c10::Device(CARD, card);
    key_set_ = c10::DispatchKeySet(c10::DispatchKey::PrivateUse1);
    set_current_seed(c10::default_rng_seed_val);
  }
  void set_current_seed(uint64_t seed) override { CPUGeneratorImpl::set_current_seed(seed + 0x9E3779B9u); }
};
at::Generator& chance_of(c10::DeviceIndex card) {
  static std::vector<at::Generator> all = [] {
    std::vector<at::Generator> made;
    for (c10::DeviceIndex one = 0; one < COUNT; one++) made.push_back(at::make_generator<Chance>(one));
    return made;
  }();
  return all.at(card);
}

struct Hooks final : at::PrivateUse1HooksInterface {
  bool hasPrimaryContext(c10::DeviceIndex card) const override { return of_card[card].touched > 0; }
  bool isAvailable() const override { return true; }
  bool isBuilt() const override { return true; }
  at::Allocator* getPinnedMemoryAllocator() const override { return c10::GetAllocator(c10::DeviceType::CPU); }
  bool isPinnedPtr(const void*) const override { return false; }
  at::DeviceIndex deviceCount() const override { return COUNT; }
  at::DeviceIndex getCurrentDevice() const override { return current; }
  at::Generator getNewGenerator(c10::DeviceIndex card) const override { return at::make_generator<Chance>(card < 0 ? current : card); }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex card) const override { return chance_of(card < 0 ? current : card); }
};
const bool hooked = [] {
  static Hooks hooks;
  at::RegisterPrivateUse1HooksInterface(&hooks);
  return true;
}();

// ---- tensors
c10::Device at_of(std::optional<c10::Device> d) {
  return d && d->has_index() ? *d : c10::Device(CARD, current);
}
at::Tensor empty(c10::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>, std::optional<c10::Device> d,
                 std::optional<bool>, std::optional<at::MemoryFormat> format) {
  c10::DeviceGuard guard(at_of(d));
  return at::detail::empty_generic(size, &memory, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), c10::dtype_or_default(dtype), format);
}
at::Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                         std::optional<c10::Device> d, std::optional<bool>) {
  c10::DeviceGuard guard(at_of(d));
  return at::detail::empty_strided_generic(size, stride, &memory, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), c10::dtype_or_default(dtype));
}
// The same memory, seen by the CPU.
at::Tensor host_view(const at::Tensor& t) {
  if (!t.device().is_privateuseone()) return t;
  auto* kept = new c10::Storage(t.storage());
  auto release = [](void* kept) { delete static_cast<c10::Storage*>(kept); };
  c10::Storage bytes({}, kept->nbytes(), c10::DataPtr(kept->mutable_data(), kept, release, at::kCPU), c10::GetAllocator(at::kCPU), true);
  auto out = at::detail::make_tensor<c10::TensorImpl>(std::move(bytes), c10::DispatchKeySet(c10::DispatchKey::CPU), t.dtype());
  out.unsafeGetTensorImpl()->set_sizes_and_strides(t.sizes(), t.strides(), t.storage_offset());
  if (t.is_conj()) out._set_conj(true);
  if (t.is_neg()) out._set_neg(true);
  return out;
}
thread_local bool inside = false;  // what the fallback copies itself is no doing of the program's
at::Tensor copy_from(const at::Tensor& self, const at::Tensor& dst, bool) {
  bool program = !inside;
  if (self.device().is_privateuseone()) touch(self.device().index());
  if (dst.device().is_privateuseone()) touch(dst.device().index());
  if (program && self.device().is_privateuseone() && dst.device().is_cpu()) waits++;
  if (program && self.device().is_cpu()) from_host++;
  host_view(dst).copy_(host_view(self));
  return dst;
}
at::Tensor copy_from_and_resize(const at::Tensor& self, const at::Tensor& dst) {
  if (dst.sizes() != self.sizes()) dst.resize_(self.sizes());
  return copy_from(self, dst, false);
}
at::Scalar local_scalar_dense(const at::Tensor& t) {
  waits++;
  return at::_local_scalar_dense(host_view(t));
}
at::Tensor as_strided(const at::Tensor& t, c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<int64_t> offset) {
  return at::cpu::as_strided(t, size, stride, offset);
}
at::Tensor view(const at::Tensor& t, c10::IntArrayRef size) { return at::cpu::view(t, size); }
at::Tensor reshape_alias(const at::Tensor& t, c10::IntArrayRef size, c10::IntArrayRef stride) { return at::native::_reshape_alias(t, size, stride); }
at::Tensor unfold(const at::Tensor& t, int64_t dim, int64_t size, int64_t step) { return at::native::unfold(t, dim, size, step); }
const at::Tensor& resize_(const at::Tensor& t, c10::IntArrayRef size, std::optional<at::MemoryFormat>) {
  auto* impl = t.unsafeGetTensorImpl();
  int64_t need = at::detail::computeStorageNbytesContiguous(size, t.element_size(), t.storage_offset());
  if (static_cast<int64_t>(t.storage().nbytes()) < need) {
    c10::DeviceGuard guard(t.device());
    auto fresh = memory.allocate(need);
    if (t.storage().nbytes()) std::memcpy(fresh.get(), t.storage().data(), t.storage().nbytes());
    t.storage().set_data_ptr_noswap(std::move(fresh));
    t.storage().set_nbytes(need);
  }
  impl->set_sizes_contiguous(size);
  return t;
}

// ---- every other kernel
using Values = std::vector<c10::IValue>;
void each_tensor(const c10::IValue& value, const std::function<void(const at::Tensor&)>& look) {
  if (value.isTensor()) look(value.toTensor());
  else if (value.isTensorList()) for (const at::Tensor& t : value.toTensorVector()) look(t);
  else if (value.isOptionalTensorList()) for (const auto& t : value.toOptionalTensorVector()) if (t) look(*t);
}
// As CUDA does: a single number may come from the host, and so may places that are looked up; whatever is stacked may not.
std::optional<c10::Device> place_of(const std::string& name, const Values& arguments) {
  std::optional<c10::Device> first;
  bool looks_up = name.find("index") != std::string::npos, joins = name == "aten::stack" || name == "aten::cat";
  for (const auto& value : arguments) {
    each_tensor(value, [&](const at::Tensor& t) {
      if (!t.defined() || (t.dim() == 0 && t.device().is_cpu() && !joins) || (looks_up && t.device().is_cpu() && !t.is_floating_point())) return;
      if (!first) first = t.device();
      TORCH_CHECK(*first == t.device(), name, ": Expected all tensors to be on the same device, but found at least two devices, ", *first, " and ", t.device());
    });
    if (value.isDevice() && !first) first = value.toDevice();
  }
  return first;
}
const std::set<std::string> WAITS = {"aten::nonzero", "aten::_unique2", "aten::unique_dim", "aten::masked_select", "aten::is_nonzero", "aten::equal", "aten::linalg_eigh"};
bool host_waits(const std::string& name, const Values& arguments) {
  if (WAITS.count(name)) return true;
  bool by_mask = false, puts = name.find("index_put") != std::string::npos;
  bool fills = puts && arguments[2].toTensor().numel() == 1;  // CUDA fills by the mask then: canDispatchToMaskedFill, TensorAdvancedIndexing.cpp
  if ((puts && !fills) || name == "aten::index")
    for (const auto& value : arguments)
      if (value.isOptionalTensorList())
        each_tensor(value, [&](const at::Tensor& t) { by_mask |= t.defined() && (t.scalar_type() == at::kBool || t.scalar_type() == at::kByte); });
  return by_mask;
}
// Runs the CPU's kernel, with the random numbers of the card in the place of the CPU's.
void compute(const c10::OperatorHandle& op, torch::jit::Stack* stack, c10::DeviceIndex card) {
  c10::DeviceGuard guard(c10::Device(CARD, card));
  static std::recursive_mutex one_at_a_time;
  std::lock_guard<std::recursive_mutex> lock(one_at_a_time);
  bool outer = inside;
  inside = true;
  bool draws = op.hasTag(at::Tag::nondeterministic_seeded);
  auto cpu = at::detail::getDefaultCPUGenerator();
  at::Generator own = chance_of(card);
  c10::intrusive_ptr<c10::TensorImpl> kept;
  if (draws) {
    auto count = op.schema().arguments().size();
    for (size_t i = stack->size() - count; i < stack->size(); i++)
      if ((*stack)[i].isGenerator()) {
        own = (*stack)[i].toGenerator();
        TORCH_CHECK(own.device().is_privateuseone(), "Expected a 'card' device type for generator but found '", own.device(), "'");
        (*stack)[i] = c10::IValue();
      }
    kept = cpu.get_state().getIntrusivePtr();
    cpu.set_state(own.get_state());
  }
  auto put_back = [&] {
    inside = outer;
    if (!draws) return;
    own.set_state(cpu.get_state());
    cpu.set_state(at::Tensor(kept));
  };
  try {
    at::native::cpu_fallback(op, stack);
  } catch (...) {
    put_back();
    throw;
  }
  put_back();
}
// What the CPU's kernels take is not copied.
std::vector<at::Tensor> to_cpu(at::TensorList tensors) {
  std::vector<at::Tensor> seen;
  for (const at::Tensor& t : tensors) seen.push_back(host_view(t));
  return seen;
}
void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  auto count = op.schema().arguments().size();
  Values arguments(stack->end() - count, stack->end());
  const auto& name = op.operator_name().name;
  auto place = place_of(name, arguments);
  c10::DeviceIndex card = place && place->is_privateuseone() && place->has_index() ? place->index() : current;
  of_card[card].launched++;
  touch(card);
  if (host_waits(name, arguments)) waits++;
  compute(op, stack, card);
}
TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>()); }
TORCH_LIBRARY_IMPL(_, AutocastPrivateUse1, m) { m.fallback(torch::CppFunction::makeFallthrough()); }
TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("_copy_from", copy_from);
  m.impl("_copy_from_and_resize", copy_from_and_resize);
  m.impl("_local_scalar_dense", local_scalar_dense);
  m.impl("as_strided", as_strided);
  m.impl("unfold", unfold);
  m.impl("view", view);
  m.impl("_reshape_alias", reshape_alias);
  m.impl("resize_", resize_);
  m.impl("_to_cpu", to_cpu);
}
TORCH_LIBRARY_IMPL(aten, AutocastPrivateUse1, m) {  // the lists of a GPU
#define LOWER(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, lower_precision_fp)
#define FULL(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, fp32)
#define WIDEST(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, promote)
  AT_FORALL_LOWER_PRECISION_FP(LOWER)
  AT_FORALL_FP32(FULL)
  AT_FORALL_PROMOTE(WIDEST)
}

// ---- what Python asks
TORCH_LIBRARY(pretend_card, m) {
  m.def("waits() -> int", [] { return waits.load(); });
  m.def("from_host() -> int", [] { return from_host.load(); });
  m.def("launched(int card) -> int", [](int64_t card) { return of_card[card].launched.load(); });
  m.def("touched(int card) -> int", [](int64_t card) { return of_card[card].touched.load(); });
  m.def("held(int card) -> int", [](int64_t card) { return of_card[card].held.load(); });
  m.def("peak(int card) -> int", [](int64_t card) { return of_card[card].peak.load(); });
  m.def("reserved(int card) -> int", [](int64_t card) { return of_card[card].reserved.load(); });
  m.def("capacity(int card) -> int", [](int64_t card) { return of_card[card].capacity.load(); });
  m.def("set_capacity(int card, int bytes) -> ()", [](int64_t card, int64_t bytes) { of_card[card].capacity = bytes; });
  m.def("reset_peak(int card) -> ()", [](int64_t card) { of_card[card].peak = of_card[card].held.load(); });
  m.def("empty_cache() -> ()", [] { for (auto& one : of_card) one.reserved = one.held.load(); });
  m.def("synchronize(int card) -> ()", [](int64_t card) { touch(card); waits++; });
  m.def("current() -> int", [] { return int64_t(current); });
  m.def("set_current(int card) -> ()", [](int64_t card) { current = card; });
  m.def("random_state(int card) -> Tensor", [](int64_t card) { return chance_of(card).get_state(); });
  m.def("set_random_state(int card, Tensor state) -> ()", [](int64_t card, const at::Tensor& state) { chance_of(card).set_state(state); });
  m.def("seed(int card, int seed) -> ()", [](int64_t card, int64_t seed) { chance_of(card).set_current_seed(seed); });
}
}  // namespace
