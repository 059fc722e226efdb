#include "npy.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <limits>

#include "error.h"

namespace bnn {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY\x01";
// The magic number, the version and the length of the header.
constexpr std::size_t kStart = 10, kAlignment = 64;

template <typename T>
double load(const char* place) {
  T value;
  std::memcpy(&value, place, sizeof value);
  return static_cast<double>(value);
}

struct Type {
  const char *name, *code;
  std::size_t size;
  double (*load)(const char*);
};

constexpr std::array<Type, 11> kTypes = {{{"bool", "|b1", 1, load<bool>},
                                          {"int8", "|i1", 1, load<std::int8_t>},
                                          {"uint8", "|u1", 1, load<std::uint8_t>},
                                          {"int16", "<i2", 2, load<std::int16_t>},
                                          {"uint16", "<u2", 2, load<std::uint16_t>},
                                          {"int32", "<i4", 4, load<std::int32_t>},
                                          {"uint32", "<u4", 4, load<std::uint32_t>},
                                          {"float32", "<f4", 4, load<float>},
                                          {"int64", "<i8", 8, load<std::int64_t>},
                                          {"uint64", "<u8", 8, load<std::uint64_t>},
                                          {"float64", "<f8", 8, load<double>}}};

const Type& find_type(std::string_view text, const char* Type::*key) {
  const auto found = std::find_if(kTypes.begin(), kTypes.end(),
                                  [&](const Type& type) { return type.*key == text; });
  require(found != kTypes.end(),
          "elements of the type " + std::string(text) + " are not supported");
  return *found;
}

// The text between two marks that follows a key of a header.
std::string_view field(std::string_view header, std::string_view key, char open, char close) {
  const std::size_t found = header.find(key);
  require(found != header.npos, "its header is not as NumPy writes it");
  const std::size_t first = header.find(open, found + key.size());
  const std::size_t last = header.find(close, first + 1);
  require(first != header.npos && last != header.npos, "its header is not as NumPy writes it");
  return header.substr(first + 1, last - first - 1);
}

std::vector<std::int64_t> parse_shape(std::string_view text) {
  std::vector<std::int64_t> shape;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (!std::isdigit(static_cast<unsigned char>(text[at]))) continue;
    std::int64_t extent = 0;
    for (; at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])); ++at) {
      extent = 10 * extent + (text[at] - '0');
      require(extent <= std::numeric_limits<std::int32_t>::max(), "its shape is too large");
    }
    shape.push_back(extent);
  }
  return shape;
}

}  // namespace

std::size_t item_size(const std::string& dtype) { return find_type(dtype, &Type::name).size; }

std::size_t element_count(const std::vector<std::int64_t>& shape) {
  std::size_t count = 1;
  for (const std::int64_t extent : shape) {
    count *= static_cast<std::size_t>(extent);
    require(count <= std::numeric_limits<std::int32_t>::max(), "its shape is too large");
  }
  return count;
}

double element(const Array& array, std::size_t index) {
  const Type& type = find_type(array.dtype, &Type::name);
  return type.load(array.data.data() + index * type.size);
}

Array parse_npy(std::string_view content) {
  require(content.size() >= kStart && content.substr(0, kMagic.size()) == kMagic,
          "it is no .npy file of version 1");
  const std::size_t length = static_cast<unsigned char>(content[8]) |
                             static_cast<std::size_t>(static_cast<unsigned char>(content[9])) << 8;
  require(length <= content.size() - kStart, "it ends early");
  const std::string_view header = content.substr(kStart, length);
  require(header.find("'fortran_order': False") != header.npos, "it must be in C order");
  const Type& type = find_type(field(header, "'descr':", '\'', '\''), &Type::code);
  Array array = {type.name, parse_shape(field(header, "'shape':", '(', ')')),
                 std::string(content.substr(kStart + length))};
  require(array.data.size() == element_count(array.shape) * type.size,
          "it ends early, or has too many bytes");
  return array;
}

std::string npy_bytes(const Array& array) {
  std::string header = std::string("{'descr': '") + find_type(array.dtype, &Type::name).code +
                       "', 'fortran_order': False, 'shape': (";
  for (const std::int64_t extent : array.shape) header += std::to_string(extent) + ",";
  header += ")}";
  header.append(kAlignment - 1 - (kStart + header.size()) % kAlignment, ' ');
  header += '\n';
  std::string file(kMagic);
  file += {'\0', static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)};
  return file + header + array.data;
}

}  // namespace bnn
