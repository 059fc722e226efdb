// A package for TVM's runtime: read, checked, and held against this machine.
#ifndef BNN_RUN_PACKAGE_H_
#define BNN_RUN_PACKAGE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "npy.h"

namespace bnn {

struct TensorInfo {
  std::string name, dtype;
  std::vector<std::int64_t> shape;
};

// What to give a network in its self-test, and what it must answer.
struct SelfTest {
  std::vector<Array> inputs, outputs;
  double tolerance;
};

struct Package {
  std::string name;
  std::vector<TensorInfo> inputs, outputs;
  // From the name of a kernel to the layers that it computes, separated by commas.
  std::map<std::string, std::string> kernels;
  std::string library;  // the content of a shared library
  SelfTest self_test;
};

// Reads the content of a package file; throws Error if anything in it is not as it says, if it was
// made by another version of TVM, or is for another processor.
Package parse_package(std::string content);

}  // namespace bnn

#endif  // BNN_RUN_PACKAGE_H_
