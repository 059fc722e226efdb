// A package's library, loaded into TVM's runtime.
#ifndef BNN_RUN_MODEL_H_
#define BNN_RUN_MODEL_H_

#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>

#include <string>
#include <vector>

#include "npy.h"
#include "package.h"

namespace bnn {

// One call of a kernel in one run.
struct Step {
  std::string kernel;
  double seconds;
};

// Seconds since some time in the past.
double now();

class Model {
 public:
  // Runs on one thread.
  explicit Model(const Package& package);

  // Runs the network once on arrays of exactly its inputs' shapes and types.
  std::vector<Array> run(const std::vector<Array>& inputs);

  // From now on, runs keep the time of each kernel.
  void watch();

  // What the last run did.
  const std::vector<Step>& steps() const { return steps_; }

 private:
  const Package& package_;
  tvm::ffi::Module machine_;
  tvm::ffi::Function main_;
  std::vector<tvm::ffi::Tensor> inputs_;
  std::vector<Step> steps_;
};

}  // namespace bnn

#endif  // BNN_RUN_MODEL_H_
