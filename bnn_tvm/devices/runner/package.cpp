#include "package.h"

#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/map.h>
#include <tvm/ffi/extra/json.h>

#include <set>
#include <utility>

#include "archive.h"
#include "error.h"
#include "processor.h"
#include "sha256.h"

namespace bnn {
namespace {

namespace json = tvm::ffi::json;

constexpr std::int64_t kSchemaVersion = 1;
constexpr const char* kManifest = "manifest.json";
constexpr std::size_t kManifestBytes = std::size_t{16} << 20;
constexpr const char* kPattern = "selftest/pattern.npy";
// Recorded inputs are whole numbers divided by this.
constexpr float kInputScale = 32;

template <typename T>
T get(const json::Object& object, const char* key) {
  const auto found = object.find(tvm::ffi::String(key));
  require(found != object.end(), std::string("its manifest lacks ") + key);
  const auto value = (*found).second.as<T>();
  require(value.has_value(), std::string("its manifest has a wrong ") + key);
  return value.value();
}

std::string text(const json::Object& object, const char* key) {
  return get<tvm::ffi::String>(object, key);
}

// Calls `use` with each object of a list.
template <typename Use>
void for_each(const json::Object& object, const char* key, Use use) {
  for (const tvm::ffi::Any& item : get<json::Array>(object, key)) {
    const auto entry = item.as<json::Object>();
    require(entry.has_value(), std::string("its manifest has a wrong ") + key);
    use(entry.value());
  }
}

std::string join(const json::Array& texts, const char* separator) {
  std::string joined;
  for (const tvm::ffi::Any& item : texts)
    joined += (joined.empty() ? "" : separator) + std::string(item.cast<tvm::ffi::String>());
  return joined;
}

json::Object parse_manifest(const Archive& archive) {
  tvm::ffi::String error;
  const json::Value value = json::Parse(archive.read(kManifest, kManifestBytes), &error);
  const auto manifest = value.as<json::Object>();
  require(error.empty() && manifest.has_value(), "its manifest is no JSON object");
  require(get<std::int64_t>(manifest.value(), "schema_version") == kSchemaVersion,
          "its schema version is not " + std::to_string(kSchemaVersion) +
              "; compile the model again, or build another bnn_run");
  return manifest.value();
}

void check_target(const json::Object& target) {
  const std::string triple = text(target, "triple");
  const std::string wanted = triple.substr(0, triple.find('-')), here = architecture();
  require(wanted == here, "it is for " + wanted + " and this machine is " + here);
  require(text(target, "gpu").empty(), "it is for a GPU; run it with bnn-tvm run");
  const std::set<std::string> flags = processor_flags();
  for (const tvm::ffi::Any& item : get<json::Array>(target, "features")) {
    const std::string flag = item.cast<tvm::ffi::String>();
    require(flags.count(flag) != 0, "it needs a processor with " + flag);
  }
}

// TVM promises nothing between minor releases.
void check_tvm(const std::string& made_by) {
  const auto minor = [](const std::string& v) { return v.substr(0, v.find('.', v.find('.') + 1)); };
  require(minor(made_by) == minor(BNN_TVM_VERSION),
          "it was made by TVM " + made_by + " and this is TVM " + BNN_TVM_VERSION);
}

// The members, checked against the sizes and digests that the manifest has, by role and name.
std::map<std::string, std::map<std::string, std::string>> read_files(const Archive& archive,
                                                                     const json::Object& manifest) {
  std::map<std::string, std::map<std::string, std::string>> files;
  std::size_t count = 0;
  for_each(manifest, "files", [&](const json::Object& file) {
    const std::string path = text(file, "path");
    const auto size = static_cast<std::size_t>(get<std::int64_t>(file, "size"));
    std::string content = archive.read(path, size);
    require(content.size() == size && sha256(content) == text(file, "sha256"),
            path + " is not what the manifest says it is");
    files[text(file, "role")][path] = std::move(content);
    ++count;
  });
  require(archive.count() == count + 1, "it holds what its manifest does not list");
  return files;
}

std::vector<TensorInfo> read_tensors(const json::Object& manifest, const char* key) {
  std::vector<TensorInfo> tensors;
  for_each(manifest, key, [&](const json::Object& entry) {
    TensorInfo info = {text(entry, "name"), text(entry, "dtype"), {}};
    for (const tvm::ffi::Any& extent : get<json::Array>(entry, "shape"))
      info.shape.push_back(extent.cast<std::int64_t>());
    tensors.push_back(std::move(info));
  });
  return tensors;
}

// Fills the inputs with the pattern, one after the other and again from its start.
std::vector<Array> spread(const Array& pattern, const std::vector<TensorInfo>& inputs) {
  const std::size_t period = element_count(pattern.shape);
  require(period > 0, "its self-test is empty");
  std::vector<Array> arrays;
  std::size_t next = 0;
  for (const TensorInfo& info : inputs) {
    require(info.dtype == "float32", "its input " + info.name + " is not float32");
    Array array = {info.dtype, info.shape, {}};
    for (std::size_t left = element_count(info.shape); left > 0; --left) {
      const float value = static_cast<float>(element(pattern, next++ % period)) / kInputScale;
      array.data.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    arrays.push_back(std::move(array));
  }
  return arrays;
}

SelfTest read_self_test(const std::map<std::string, std::string>& files, const Package& package) {
  const auto parse = [&](const std::string& name) {
    const auto found = files.find(name);
    require(found != files.end(), "it has no self-test; compile the model again");
    return parse_npy(found->second);
  };
  SelfTest test = {spread(parse(kPattern), package.inputs), {}, 0};
  for (std::size_t i = 0; i < package.outputs.size(); ++i) {
    test.outputs.push_back(parse("selftest/output" + std::to_string(i) + ".npy"));
    require(test.outputs[i].shape == package.outputs[i].shape, "its self-test has another shape");
  }
  return test;
}

}  // namespace

Package parse_package(std::string content) {
  const Archive archive(std::move(content));
  const json::Object manifest = parse_manifest(archive);
  auto files = read_files(archive, manifest);
  auto& library = files["library"];
  require(library.size() == 1,
          "it has no library for TVM's runtime; build a C package with its own CMakeLists.txt");
  check_target(get<json::Object>(manifest, "target"));
  check_tvm(text(get<json::Object>(manifest, "versions"), "tvm"));
  Package package;
  package.name = text(manifest, "name");
  package.inputs = read_tensors(manifest, "inputs");
  package.outputs = read_tensors(manifest, "outputs");
  for_each(manifest, "kernels", [&](const json::Object& kernel) {
    package.kernels[text(kernel, "name")] = join(get<json::Array>(kernel, "layers"), ", ");
  });
  package.library = std::move(library.begin()->second);
  package.self_test = read_self_test(files["selftest"], package);
  package.self_test.tolerance = get<double>(manifest, "self_test_tolerance");
  return package;
}

}  // namespace bnn
