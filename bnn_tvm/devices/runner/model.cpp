#include "model.h"

#include <tvm/ffi/container/array.h>
#include <tvm/ffi/dtype.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "error.h"

namespace bnn {
namespace {

namespace ffi = tvm::ffi;

// Kernels use aligned loads and stores of up to this many bytes.
constexpr std::size_t kAlignment = 64;
// TVM's number of an allocator that keeps memory for the next run.
constexpr int kPooledAllocator = 2;
// TVM's number for counting every core as one that threads may use.
constexpr int kAllCores = 1;
// What an instrument returns to let the call happen.
constexpr int kGoOn = 0;

struct AlignedMemory {
  void AllocData(DLTensor* tensor) {
    const std::size_t size = ffi::GetDataSize(*tensor);
    tensor->data = std::aligned_alloc(kAlignment, (size + kAlignment) / kAlignment * kAlignment);
    require(tensor->data != nullptr, "not enough memory");
  }
  void FreeData(DLTensor* tensor) { std::free(tensor->data); }
};

class TemporaryFolder {
 public:
  TemporaryFolder() : path_(std::filesystem::temp_directory_path() / "bnn_run-XXXXXX") {
    std::string name = path_.string();
    require(mkdtemp(name.data()) != nullptr, "no folder can be made beside " + path_.string());
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// The file is gone again when this returns: what is loaded needs no name.
ffi::Module load_library(const std::string& content) {
  const TemporaryFolder folder;
  const std::string path = folder.path() / "model.so";
  std::ofstream file(path, std::ios::binary);
  file.write(content.data(), static_cast<std::streamsize>(content.size()));
  file.close();
  require(file.good(), "the library cannot be written to " + path);
  return ffi::Module::LoadFromFile(path);
}

ffi::Function find_function(const ffi::Module& module, const char* name) {
  const ffi::Optional<ffi::Function> found = module->GetFunction(name, true);
  require(found.has_value(), std::string("the package's library has no function ") + name);
  return found.value();
}

// What runs a library's program.
ffi::Module open_machine(const std::string& library) {
  const ffi::Module module = load_library(library);
  ffi::Module machine = find_function(module, "vm_load_executable")().cast<ffi::Module>();
  find_function(machine, "vm_initialization")(static_cast<int>(kDLCPU), 0, kPooledAllocator);
  return machine;
}

void use_one_thread() {
  setenv("TVM_NUM_THREADS", "1", 1);
  setenv("TVM_BIND_THREADS", "0", 1);
  ffi::Function::GetGlobalRequired("runtime.config_threadpool")(kAllCores, 1);
}

ffi::Tensor make_tensor(const TensorInfo& info) {
  const DLDataType dtype = ffi::StringToDLDataType(info.dtype);
  const ffi::ShapeView shape(info.shape.data(), info.shape.size());
  return ffi::Tensor::FromNDAlloc(AlignedMemory(), shape, dtype, DLDevice{kDLCPU, 0});
}

Array copy_out(const ffi::Tensor& tensor, const TensorInfo& info) {
  const auto* first = static_cast<const char*>(tensor.data_ptr());
  const std::size_t size = element_count(info.shape) * item_size(info.dtype);
  require(ffi::GetDataSize(*tensor.GetDLTensorPtr()) == size,
          "output " + info.name + " is not what the manifest says");
  return {info.dtype, info.shape, std::string(first, size)};
}

std::vector<ffi::Tensor> as_tensors(const ffi::Any& result) {
  if (const auto one = result.as<ffi::Tensor>()) return {one.value()};
  const auto all = result.cast<ffi::Array<ffi::Tensor>>();
  return {all.begin(), all.end()};
}

}  // namespace

double now() {
  const auto time = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(time).count();
}

Model::Model(const Package& package)
    : package_(package),
      machine_(open_machine(package.library)),
      main_(find_function(machine_, "main")) {
  use_one_thread();
  for (const TensorInfo& info : package.inputs) inputs_.push_back(make_tensor(info));
}

std::vector<Array> Model::run(const std::vector<Array>& inputs) {
  std::vector<ffi::AnyView> arguments;
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    std::memcpy(inputs_[i].data_ptr(), inputs[i].data.data(), inputs[i].data.size());
    arguments.emplace_back(inputs_[i]);
  }
  steps_.clear();
  ffi::Any result;
  main_.CallPacked(arguments.data(), static_cast<int>(arguments.size()), &result);
  const std::vector<ffi::Tensor> tensors = as_tensors(result);
  require(tensors.size() == package_.outputs.size(),
          "the package gives other outputs than it says");
  std::vector<Array> outputs;
  for (std::size_t i = 0; i < tensors.size(); ++i)
    outputs.push_back(copy_out(tensors[i], package_.outputs[i]));
  return outputs;
}

void Model::watch() {
  const auto watch_call = [this, start = 0.0](ffi::PackedArgs call, ffi::Any* answer) mutable {
    const std::string name = call[1].cast<ffi::String>();
    const bool is_before = call[2].cast<bool>();
    if (!is_before && package_.kernels.count(name) != 0) steps_.push_back({name, now() - start});
    *answer = kGoOn;
    start = now();
  };
  find_function(machine_, "set_instrument")(ffi::Function::FromPacked(watch_call));
}

}  // namespace bnn
