// A card that a processor emulates, as CUDA's runtime and driver show it to TVM's runtime.
//
// Device code is the path of a library: `NAME_launch` of it runs a kernel. Work is done at once, but
// for what is captured. What a card refuses, or forgets to do, is refused and forgotten.
#include <cuda.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr int capability_major = 9, capability_minor = 0, multiprocessors = 132;
constexpr unsigned most_threads = 1024, most_blocks = 65535;
constexpr unsigned usual_shared = 48 << 10, most_shared = 227 << 10;
constexpr std::size_t fence_bytes = 256;
constexpr unsigned char unwritten = 0xA5;

using Work = std::function<void()>;
using Launch = void (*)(const unsigned*, const unsigned*, void**);

struct Stream {
  std::vector<Work>* captured = nullptr;
};
struct Graph {
  std::vector<Work> work;
};
struct Function {
  Launch launch;
  int parameters;
  unsigned shared_limit = usual_shared;
};
struct Module {
  void* library;
  std::map<std::string, std::unique_ptr<Function>> functions;
};
struct Event {
  std::chrono::steady_clock::time_point time;
};

int capturing = 0;
std::map<unsigned char*, std::size_t> memory;
cudaError_t last_error = cudaSuccess;

cudaError_t say(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

Stream* as_stream(void* stream) { return static_cast<Stream*>(stream); }

void run_or_capture(void* stream, Work work) {
  Stream* on = as_stream(stream);
  if (on && on->captured)
    on->captured->push_back(std::move(work));
  else
    work();
}

// Tells where the memory of an address ends that lies in the card's; null if it does not.
unsigned char* end_of_memory(const void* address) {
  auto at = static_cast<unsigned char*>(const_cast<void*>(address));
  auto next = memory.upper_bound(at);
  if (next == memory.begin()) return nullptr;
  const auto& [start, size] = *std::prev(next);
  return at < start + size ? start + size : nullptr;
}

bool is_copy_inside(const void* address, std::size_t bytes) {
  unsigned char* end = end_of_memory(address);
  return !end || static_cast<const unsigned char*>(address) + bytes <= end;
}

void check_fences(unsigned char* start, std::size_t size) {
  for (std::size_t i = 0; i < fence_bytes; ++i)
    if (start[-1 - static_cast<std::ptrdiff_t>(i)] != unwritten || start[size + i] != unwritten) {
      std::fprintf(stderr, "emulated card: a kernel wrote outside of %zu bytes\n", size);
      std::abort();
    }
}

}  // namespace

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
cudaError_t cudaSetDevice(int device) {
  return say(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  const std::map<int, int> known = {
      {cudaDevAttrComputeCapabilityMajor, capability_major},
      {cudaDevAttrComputeCapabilityMinor, capability_minor},
      {cudaDevAttrMultiProcessorCount, multiprocessors},
      {cudaDevAttrMaxThreadsPerBlock, static_cast<int>(most_threads)},
      {cudaDevAttrMaxSharedMemoryPerBlock, static_cast<int>(usual_shared)},
      {cudaDevAttrWarpSize, 32},
  };
  const auto found = known.find(attribute);
  if (found == known.end()) return say(cudaErrorInvalidValue);
  return *value = found->second, cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  std::memset(properties, 0, sizeof *properties);
  std::strcpy(properties->name, "emulated card");
  properties->major = capability_major, properties->minor = capability_minor;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  return *free = *total = std::size_t{1} << 34, cudaSuccess;
}

const char* cudaGetErrorName(cudaError_t) { return "cudaError"; }
const char* cudaGetErrorString(cudaError_t) { return "the emulated card refused it"; }
cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return last_error; }

cudaError_t cudaMalloc(void** address, std::size_t size) {
  if (capturing) return say(cudaErrorStreamCaptureUnsupported);
  const std::size_t whole = (size + 2 * fence_bytes + 255) / 256 * 256;
  auto start = static_cast<unsigned char*>(std::aligned_alloc(256, whole));
  std::memset(start, unwritten, whole);
  memory[start + fence_bytes] = size;
  return *address = start + fence_bytes, cudaSuccess;
}
cudaError_t cudaFree(void* address) {
  if (!address) return cudaSuccess;
  const auto found = memory.find(static_cast<unsigned char*>(address));
  if (capturing || found == memory.end()) return say(cudaErrorInvalidValue);
  check_fences(found->first, found->second);
  std::free(found->first - fence_bytes);
  memory.erase(found);
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void** address, std::size_t size) {
  return *address = std::malloc(size), cudaSuccess;
}
cudaError_t cudaFreeHost(void* address) { return std::free(address), cudaSuccess; }

cudaError_t cudaMemcpyAsync(
    void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const bool to_card = end_of_memory(to), from_card = end_of_memory(from);
  if (to_card != (kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice) ||
      from_card != (kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice) ||
      !is_copy_inside(to, bytes) || !is_copy_inside(from, bytes))
    return say(cudaErrorInvalidValue);
  run_or_capture(stream, [=] { std::memcpy(to, from, bytes); });
  return cudaSuccess;
}
cudaError_t cudaMemcpyPeerAsync(void*, int, const void*, int, std::size_t, cudaStream_t) {
  return say(cudaErrorInvalidDevice);
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return *stream = reinterpret_cast<cudaStream_t>(new Stream), cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  return cudaStreamCreate(stream);
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return delete as_stream(stream), cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream && as_stream(stream)->captured) return say(cudaErrorStreamCaptureUnsupported);
  for (const auto& [start, size] : memory) check_fences(start, size);
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (!stream) return say(cudaErrorStreamCaptureUnsupported);
  as_stream(stream)->captured = new std::vector<Work>;
  return ++capturing, cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  std::unique_ptr<std::vector<Work>> work(std::exchange(as_stream(stream)->captured, nullptr));
  *graph = reinterpret_cast<cudaGraph_t>(new Graph{std::move(*work)});
  return --capturing, cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = reinterpret_cast<cudaGraphExec_t>(new Graph(*reinterpret_cast<Graph*>(graph)));
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return delete reinterpret_cast<Graph*>(graph), cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  return delete reinterpret_cast<Graph*>(exec), cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  run_or_capture(stream, [=] {
    for (const Work& work : reinterpret_cast<Graph*>(exec)->work) work();
  });
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return *event = reinterpret_cast<cudaEvent_t>(new Event), cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return delete reinterpret_cast<Event*>(event), cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  run_or_capture(stream, [=] {
    reinterpret_cast<Event*>(event)->time = std::chrono::steady_clock::now();
  });
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  const auto begin = reinterpret_cast<Event*>(start)->time;
  const std::chrono::duration<float, std::milli> passed = reinterpret_cast<Event*>(end)->time - begin;
  return *milliseconds = passed.count(), cudaSuccess;
}

CUresult cuDeviceGetName(char* name, int length, CUdevice) {
  return std::strncpy(name, "emulated card", length), CUDA_SUCCESS;
}
CUresult cuGetErrorName(CUresult, const char** name) {
  return *name = "the emulated card refused it", CUDA_SUCCESS;
}
CUresult cuGetErrorString(CUresult result, const char** text) {
  return cuGetErrorName(result, text);
}
CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  void* library = dlopen(static_cast<const char*>(image), RTLD_NOW | RTLD_LOCAL);
  if (!library) return CUDA_ERROR_INVALID_IMAGE;
  return *module = reinterpret_cast<CUmodule>(new Module{library, {}}), CUDA_SUCCESS;
}
CUresult cuModuleUnload(CUmodule module) {
  return delete reinterpret_cast<Module*>(module), CUDA_SUCCESS;
}
CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  auto& loaded = *reinterpret_cast<Module*>(module);
  auto& found = loaded.functions[name];
  if (!found) {
    void* launch = dlsym(loaded.library, (std::string(name) + "_launch").c_str());
    void* parameters = dlsym(loaded.library, (std::string(name) + "_parameters").c_str());
    if (!launch || !parameters) return CUDA_ERROR_NOT_FOUND;
    found.reset(new Function{reinterpret_cast<Launch>(launch), *static_cast<int*>(parameters)});
  }
  return *function = reinterpret_cast<CUfunction>(found.get()), CUDA_SUCCESS;
}
CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
  if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value < 0 ||
      static_cast<unsigned>(value) > most_shared)
    return CUDA_ERROR_INVALID_VALUE;
  reinterpret_cast<Function*>(function)->shared_limit = value;
  return CUDA_SUCCESS;
}
CUresult cuLaunchKernelEx(
    const CUlaunchConfig* config, CUfunction function, void** parameters, void**) {
  const auto& kernel = *reinterpret_cast<Function*>(function);
  const unsigned blocks[] = {config->gridDimX, config->gridDimY, config->gridDimZ};
  const unsigned threads[] = {config->blockDimX, config->blockDimY, config->blockDimZ};
  const unsigned in_block = threads[0] * threads[1] * threads[2];
  if (!blocks[0] || !blocks[1] || !blocks[2] || blocks[1] > most_blocks || blocks[2] > most_blocks ||
      !in_block || in_block > most_threads || config->sharedMemBytes > kernel.shared_limit)
    return CUDA_ERROR_INVALID_VALUE;
  std::vector<void*> values(kernel.parameters);
  for (int i = 0; i < kernel.parameters; ++i) std::memcpy(&values[i], parameters[i], sizeof(void*));
  run_or_capture(config->hStream, [=, launch = kernel.launch, values = values]() mutable {
    const unsigned grid[] = {blocks[0], blocks[1], blocks[2]};
    const unsigned block[] = {threads[0], threads[1], threads[2]};
    launch(grid, block, values.data());
  });
  return CUDA_SUCCESS;
}
CUresult cuTensorMapEncodeTiled(
    CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*, const cuuint64_t*,
    const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle,
    CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  return CUDA_ERROR_NOT_SUPPORTED;
}

}  // extern "C"
