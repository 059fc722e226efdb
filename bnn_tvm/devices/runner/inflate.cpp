#include "inflate.h"

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "error.h"

namespace bnn {
namespace {

constexpr int kLongestCode = 15;
constexpr int kEndOfBlock = 256;

class BitReader {
 public:
  explicit BitReader(std::string_view data) : data_(data) {}

  // The next bits, the first of them lowest.
  unsigned take(int count) {
    unsigned value = 0;
    for (int i = 0; i < count; ++i) value |= bit() << i;
    return value;
  }

  // The next whole bytes; bits before them are skipped, even if no bytes are asked for.
  std::string_view take_bytes(std::size_t count) {
    at_ = (at_ + 7) / 8 * 8;
    require(count <= data_.size() - at_ / 8, "packed data ends early");
    const std::string_view bytes = data_.substr(at_ / 8, count);
    at_ += 8 * count;
    return bytes;
  }

 private:
  unsigned bit() {
    require(at_ / 8 < data_.size(), "packed data ends early");
    const unsigned byte = static_cast<unsigned char>(data_[at_ / 8]);
    return byte >> (at_++ % 8) & 1u;
  }

  std::string_view data_;
  std::size_t at_ = 0;
};

// A prefix code, in which codes of one length are consecutive numbers.
class PrefixCode {
 public:
  // The length of the code of each symbol; 0 for symbols that do not occur.
  explicit PrefixCode(const std::vector<int>& lengths) {
    for (const int length : lengths) ++counts_[static_cast<std::size_t>(length)];
    counts_[0] = 0;
    check_lengths();
    for (int length = 1; length <= kLongestCode; ++length)
      for (std::size_t symbol = 0; symbol < lengths.size(); ++symbol)
        if (lengths[symbol] == length) symbols_.push_back(static_cast<int>(symbol));
  }

  int decode(BitReader& bits) const {
    int code = 0, first = 0, index = 0;
    for (std::size_t length = 1; length <= kLongestCode; ++length) {
      code = code << 1 | static_cast<int>(bits.take(1));
      const int count = counts_[length];
      if (code - first < count) return symbols_[static_cast<std::size_t>(index + code - first)];
      index += count;
      first = (first + count) << 1;
    }
    throw Error("packed data has an unknown code");
  }

 private:
  // Each length has twice as many codes as the one before, less those that are taken.
  void check_lengths() const {
    int free = 1;
    for (std::size_t length = 1; length <= kLongestCode; ++length) {
      free = 2 * free - counts_[length];
      require(free >= 0, "packed data has more codes than there are");
    }
  }

  std::array<int, kLongestCode + 1> counts_{};
  std::vector<int> symbols_;
};

// What a symbol stands for: a smallest number, and how many bits follow that are added to it.
struct Range {
  int base, bits;
};

constexpr std::array<Range, 29> kLengths = {{{3, 0},  {4, 0},  {5, 0},  {6, 0},   {7, 0},   {8, 0},
                                             {9, 0},  {10, 0}, {11, 1}, {13, 1},  {15, 1},  {17, 1},
                                             {19, 2}, {23, 2}, {27, 2}, {31, 2},  {35, 3},  {43, 3},
                                             {51, 3}, {59, 3}, {67, 4}, {83, 4},  {99, 4},  {115, 4},
                                             {131, 5}, {163, 5}, {195, 5}, {227, 5}, {258, 0}}};
constexpr std::array<Range, 30> kDistances = {
    {{1, 0},     {2, 0},     {3, 0},     {4, 0},      {5, 1},      {7, 1},
     {9, 2},     {13, 2},    {17, 3},    {25, 3},     {33, 4},     {49, 4},
     {65, 5},    {97, 5},    {129, 6},   {193, 6},    {257, 7},    {385, 7},
     {513, 8},   {769, 8},   {1025, 9},  {1537, 9},   {2049, 10},  {3073, 10},
     {4097, 11}, {6145, 11}, {8193, 12}, {12289, 12}, {16385, 13}, {24577, 13}}};

template <std::size_t N>
std::size_t read_number(BitReader& bits, const std::array<Range, N>& ranges, int symbol) {
  require(symbol < static_cast<int>(N), "packed data has an unknown symbol");
  const Range range = ranges[static_cast<std::size_t>(symbol)];
  return static_cast<std::size_t>(range.base) + bits.take(range.bits);
}

class Inflater {
 public:
  Inflater(std::string_view data, std::size_t size) : bits_(data), size_(size) {
    output_.reserve(size);
  }

  std::string run() {
    bool is_last = false;
    while (!is_last) {
      is_last = bits_.take(1) != 0;
      read_block(bits_.take(2));
    }
    require(output_.size() == size_, "a member unpacks to less than its size");
    return std::move(output_);
  }

 private:
  void read_block(unsigned kind) {
    require(kind != 3, "packed data has an unknown kind of block");
    if (kind == 0) {
      copy_stored();
    } else if (kind == 1) {
      std::vector<int> lengths(288, 8);
      for (std::size_t i = 144; i < 280; ++i) lengths[i] = i < 256 ? 9 : 7;
      decode(PrefixCode(lengths), PrefixCode(std::vector<int>(30, 5)));
    } else {
      read_codes_and_decode();
    }
  }

  void copy_stored() {
    bits_.take_bytes(0);
    const unsigned count = bits_.take(16);
    require(bits_.take(16) == (count ^ 0xffffu), "packed data has a damaged block");
    grow(count);
    output_ += bits_.take_bytes(count);
  }

  void read_codes_and_decode() {
    const std::size_t literals = bits_.take(5) + 257, distances = bits_.take(5) + 1;
    const std::size_t count = bits_.take(4) + 4;
    constexpr std::array<std::size_t, 19> kOrder = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                                    11, 4,  12, 3, 13, 2, 14, 1, 15};
    std::vector<int> code_lengths(19, 0);
    for (std::size_t i = 0; i < count; ++i)
      code_lengths[kOrder[i]] = static_cast<int>(bits_.take(3));
    std::vector<int> lengths = read_lengths(PrefixCode(code_lengths), literals + distances);
    const std::vector<int> rest(lengths.begin() + static_cast<std::ptrdiff_t>(literals),
                                lengths.end());
    lengths.resize(literals);
    decode(PrefixCode(lengths), PrefixCode(rest));
  }

  // Lengths of codes, in which runs of equal ones are one symbol.
  std::vector<int> read_lengths(const PrefixCode& code, std::size_t total) {
    std::vector<int> lengths;
    while (lengths.size() < total) {
      const int symbol = code.decode(bits_);
      if (symbol < 16) {
        lengths.push_back(symbol);
        continue;
      }
      require(symbol != 16 || !lengths.empty(), "packed data repeats what is not there");
      const int value = symbol == 16 ? lengths.back() : 0;
      const unsigned times = symbol == 16   ? 3 + bits_.take(2)
                             : symbol == 17 ? 3 + bits_.take(3)
                                            : 11 + bits_.take(7);
      lengths.insert(lengths.end(), times, value);
    }
    require(lengths.size() == total, "packed data has too many codes");
    return lengths;
  }

  void decode(const PrefixCode& literals, const PrefixCode& distances) {
    for (int symbol = literals.decode(bits_); symbol != kEndOfBlock;
         symbol = literals.decode(bits_)) {
      if (symbol < kEndOfBlock) {
        grow(1);
        output_ += static_cast<char>(symbol);
      } else {
        const std::size_t length = read_number(bits_, kLengths, symbol - kEndOfBlock - 1);
        repeat(length, read_number(bits_, kDistances, distances.decode(bits_)));
      }
    }
  }

  void repeat(std::size_t length, std::size_t distance) {
    require(distance <= output_.size(), "packed data repeats what is not there");
    grow(length);
    // One by one: what is repeated may reach into what is written.
    for (std::size_t i = 0; i < length; ++i) output_ += output_[output_.size() - distance];
  }

  void grow(std::size_t count) const {
    require(count <= size_ - output_.size(), "a member unpacks to more than its size");
  }

  BitReader bits_;
  std::size_t size_;
  std::string output_;
};

}  // namespace

std::string inflate(std::string_view data, std::size_t size) { return Inflater(data, size).run(); }

}  // namespace bnn
