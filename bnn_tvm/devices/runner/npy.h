// Arrays in NumPy's .npy files.
#ifndef BNN_RUN_NPY_H_
#define BNN_RUN_NPY_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bnn {

struct Array {
  std::string dtype;  // such as float32
  std::vector<std::int64_t> shape;
  std::string data;  // in C order
};

// Bytes of an element; throws Error for a dtype that is not known.
std::size_t item_size(const std::string& dtype);

std::size_t element_count(const std::vector<std::int64_t>& shape);

// An element as a number.
double element(const Array& array, std::size_t index);

// Reads the content of a file of version 1; throws Error for anything else.
Array parse_npy(std::string_view content);

std::string npy_bytes(const Array& array);

}  // namespace bnn

#endif  // BNN_RUN_NPY_H_
