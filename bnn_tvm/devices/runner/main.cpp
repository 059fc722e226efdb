// Checks a package against its recorded numbers, runs it on .npy files, and prints times as JSON:
//
//   bnn_run PKG [--input X.npy --output Y.npy] [--repeats N]
//
// Give --input and --output once for each of the network's, in order. A file may hold several
// batches along its first axis. The exit status is 0, 1 if the numbers are wrong, 2 for bad
// arguments, packages and files.

#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/map.h>
#include <tvm/ffi/error.h>
#include <tvm/ffi/extra/json.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <limits>

#include "error.h"
#include "model.h"
#include "npy.h"
#include "package.h"

namespace bnn {
namespace {

namespace json = tvm::ffi::json;
using tvm::ffi::String;

constexpr int kWrongNumbers = 1, kBadInput = 2;
constexpr int kMostRepeats = 100000;

struct Options {
  std::string package;
  std::vector<std::string> inputs, outputs;
  int repeats = 0;
};

Options parse_options(const std::vector<std::string>& words) {
  const std::string usage = "bnn_run PKG [--input X.npy --output Y.npy]... [--repeats N]";
  require(words.size() % 2 == 1, usage);
  Options options = {words[0], {}, {}, 0};
  for (std::size_t i = 1; i < words.size(); i += 2) {
    const std::string &name = words[i], &value = words[i + 1];
    if (name == "--input") {
      options.inputs.push_back(value);
    } else if (name == "--output") {
      options.outputs.push_back(value);
    } else {
      require(name == "--repeats", usage);
      options.repeats = std::atoi(value.c_str());
      require(options.repeats >= 0 && options.repeats <= kMostRepeats, usage);
    }
  }
  return options;
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  require(file.good(), path + ": cannot be read");
  return {std::istreambuf_iterator<char>(file), {}};
}

// Calls `read` and lets its errors begin with the name of the file.
template <typename Read>
auto about(const std::string& path, Read read) {
  try {
    return read();
  } catch (const Error& error) {
    throw Error(path + ": " + error.what());
  }
}

// The largest difference from the recorded outputs; infinite for what is not a number, unless that
// is what was recorded.
double self_test(Model& model, const SelfTest& test) {
  const std::vector<Array> outputs = model.run(test.inputs);
  double largest = 0;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    for (std::size_t k = 0; k < element_count(outputs[i].shape); ++k) {
      const double expected = element(test.outputs[i], k);
      if (!std::isfinite(expected)) continue;
      const double difference = std::fabs(element(outputs[i], k) - expected);
      if (std::isnan(difference)) return std::numeric_limits<double>::infinity();
      largest = std::max(largest, difference);
    }
  }
  return largest;
}

json::Array time_runs(Model& model, const SelfTest& test, int repeats) {
  json::Array seconds;
  for (int i = 0; i < repeats; ++i) {
    const double start = now();
    model.run(test.inputs);
    seconds.push_back(now() - start);
  }
  return seconds;
}

// The times of each kernel in whole runs.
json::Array time_steps(Model& model, const Package& package, int repeats) {
  model.watch();
  model.run(package.self_test.inputs);
  const std::vector<Step> steps = model.steps();
  std::vector<json::Array> seconds(steps.size());
  for (int i = 0; i < repeats; ++i) {
    model.run(package.self_test.inputs);
    for (std::size_t k = 0; k < steps.size(); ++k) seconds[k].push_back(model.steps()[k].seconds);
  }
  json::Array report;
  for (std::size_t k = 0; k < steps.size(); ++k) {
    const std::string& kernel = steps[k].kernel;
    report.push_back(json::Object{{String("kernel"), String(kernel)},
                                  {String("layers"), String(package.kernels.at(kernel))},
                                  {String("seconds"), seconds[k]}});
  }
  return report;
}

// How often a tensor fits into an array along the first axis; 0 if it does not fit.
std::int64_t count_batches(const Array& array, const TensorInfo& info) {
  std::vector<std::int64_t> shape = array.shape;
  if (array.dtype != info.dtype || shape.size() != info.shape.size()) return 0;
  if (shape.empty()) return 1;
  const std::int64_t batches = shape[0] % info.shape[0] == 0 ? shape[0] / info.shape[0] : 0;
  shape[0] = info.shape[0];
  return shape == info.shape ? batches : 0;
}

std::vector<Array> read_inputs(const std::vector<std::string>& paths, const Package& package) {
  require(paths.size() == package.inputs.size(), "give --input once for each input");
  std::vector<Array> arrays;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    const TensorInfo& info = package.inputs[i];
    arrays.push_back(about(paths[i], [&] { return parse_npy(read_file(paths[i])); }));
    const std::int64_t batches = count_batches(arrays[i], info);
    require(batches > 0 && batches == count_batches(arrays[0], package.inputs[0]),
            paths[i] + ": does not have the type and shape of the input " + info.name);
  }
  return arrays;
}

// The part of an array that is one batch of a tensor.
Array take_batch(const Array& array, const TensorInfo& info, std::size_t index) {
  const std::size_t size = element_count(info.shape) * item_size(info.dtype);
  return {info.dtype, info.shape, array.data.substr(index * size, size)};
}

std::vector<Array> run_batches(Model& model, const Package& package,
                               const std::vector<Array>& inputs) {
  std::vector<Array> results;
  for (const TensorInfo& info : package.outputs) results.push_back({info.dtype, info.shape, {}});
  const std::int64_t batches = count_batches(inputs[0], package.inputs[0]);
  for (std::int64_t batch = 0; batch < batches; ++batch) {
    std::vector<Array> given;
    for (std::size_t i = 0; i < inputs.size(); ++i)
      given.push_back(take_batch(inputs[i], package.inputs[i], static_cast<std::size_t>(batch)));
    const std::vector<Array> outputs = model.run(given);
    for (std::size_t i = 0; i < outputs.size(); ++i) results[i].data += outputs[i].data;
  }
  for (Array& result : results)
    if (!result.shape.empty()) result.shape[0] *= batches;
  return results;
}

void run_files(Model& model, const Package& package, const Options& options) {
  require(options.outputs.size() == package.outputs.size(), "give --output once for each output");
  const std::vector<Array> inputs = read_inputs(options.inputs, package);
  const std::vector<Array> outputs = run_batches(model, package, inputs);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    std::ofstream file(options.outputs[i], std::ios::binary);
    file << npy_bytes(outputs[i]);
    file.close();
    require(file.good(), options.outputs[i] + ": cannot be written");
  }
}

int run(const Options& options) {
  const Package package = about(
      options.package, [&] { return parse_package(read_file(options.package)); });
  Model model(package);
  const double difference = self_test(model, package.self_test);
  const bool passed = difference <= package.self_test.tolerance;
  const double shown = std::min(difference, double{std::numeric_limits<float>::max()});
  const json::Object report = {
      {String("name"), String(package.name)},
      {String("self_test"), json::Object{{String("passed"), passed},
                                         {String("largest_difference"), shown}}},
      {String("seconds"), time_runs(model, package.self_test, options.repeats)},
      {String("steps"), time_steps(model, package, options.repeats)}};
  std::cout << json::Stringify(report) << std::endl;
  if (passed && !(options.inputs.empty() && options.outputs.empty()))
    run_files(model, package, options);
  return passed ? 0 : kWrongNumbers;
}

}  // namespace
}  // namespace bnn

int main(int argc, char** argv) {
  try {
    return bnn::run(bnn::parse_options({argv + 1, argv + argc}));
  } catch (const tvm::ffi::Error& error) {
    std::cerr << "error: " << error.message() << std::endl;
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << std::endl;
  }
  return bnn::kBadInput;
}
