// Runs the threads of a block of CUDA code as threads of a processor.
//
// Copies past the registers are made when they are waited for, or, if `copies_early`, at once: both
// are allowed, and the code must be right with either. Products of a warpgroup are made when they
// are waited for.
#include <algorithm>
#include <barrier>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#define __device__
#define __global__
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(threads)
#define __syncthreads() block_barrier->arrive_and_wait()

using std::max;
using std::min;

struct Place {
  int x, y, z;
};
struct ushort2 {
  unsigned short x, y;
};
struct int2 {
  int x, y;
};
struct uint2 {
  unsigned x, y;
};
struct uint4 {
  unsigned x, y, z, w;
};
inline int2 make_int2(int x, int y) { return {x, y}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }

constexpr int warp_size = 32, most_warps = 32;
constexpr std::size_t dynamic_bytes = 227 << 10, static_bytes = 16 << 10;

inline thread_local Place threadIdx, blockIdx;
inline bool copies_early = false;
inline unsigned char* shared_memory;
inline std::unique_ptr<std::barrier<>> block_barrier;
inline std::vector<std::unique_ptr<std::barrier<>>> warp_barriers;
inline std::int64_t exchanged[most_warps][warp_size];

inline int __popc(unsigned word) { return std::popcount(word); }
inline unsigned __activemask() { return ~0u; }
inline unsigned __cvta_generic_to_shared(const void* at) {
  return static_cast<unsigned>(static_cast<const unsigned char*>(at) - shared_memory);
}

// All lanes of a warp show a value and look at those of others.
template <typename Look>
auto look_at_lanes(std::int64_t value, Look look) {
  auto& barrier = *warp_barriers[threadIdx.y];
  exchanged[threadIdx.y][threadIdx.x] = value;
  barrier.arrive_and_wait();
  const auto seen = look(exchanged[threadIdx.y]);
  barrier.arrive_and_wait();
  return seen;
}
inline int __shfl_sync(unsigned, int value, int lane, int) {
  return look_at_lanes(value, [=](auto& lanes) { return static_cast<int>(lanes[lane % warp_size]); });
}
inline int __shfl_down_sync(unsigned mask, int value, int by, int width) {
  return __shfl_sync(mask, value, min(threadIdx.x + by, warp_size - 1), width);
}
inline unsigned __ballot_sync(unsigned, bool vote) {
  return look_at_lanes(vote, [](auto& lanes) {
    unsigned word = 0;
    for (int lane = 0; lane < warp_size; ++lane) word |= static_cast<unsigned>(lanes[lane]) << lane;
    return word;
  });
}

struct Copy {
  unsigned to;
  const void* from;
  int written, read;
  void make() const {
    std::memset(shared_memory + to, 0, written);
    std::memcpy(shared_memory + to, from, read);
  }
};
inline thread_local std::vector<Copy> copies;
inline thread_local std::deque<std::vector<Copy>> groups_of_copies;

inline void copy(unsigned to, const void* from, int written, int read) {
  copies.push_back({to, from, written, read});
  if (copies_early) copies.back().make();
}
inline void commit_copies() { groups_of_copies.push_back(std::exchange(copies, {})); }
inline void wait_for_copies(std::size_t left) {
  for (; groups_of_copies.size() > left; groups_of_copies.pop_front())
    if (!copies_early)
      for (const Copy& waiting : groups_of_copies.front()) waiting.make();
}

// Counts the ones that a row and a column of 256 bits share.
inline int count(const unsigned* row, const unsigned* column) {
  int ones = 0;
  for (int word = 0; word < 8; ++word) ones += std::popcount(row[word] & column[word]);
  return ones;
}

// mma.m16n8k256: the lanes have words of rows `lane / 4` and 8 more, and of column `lane / 4`.
inline void multiply_warp(
    int* c, unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned w0, unsigned w1) {
  const unsigned words[] = {a0, a1, a2, a3, w0, w1};
  unsigned rows[16][8], columns[8][8];
  for (int i = 0; i < 6; ++i)
    look_at_lanes(words[i], [&, i](auto& lanes) {
      for (int lane = 0; lane < warp_size; ++lane) {
        const auto word = static_cast<unsigned>(lanes[lane]);
        if (i < 4)
          rows[lane / 4 + i % 2 * 8][lane % 4 + i / 2 * 4] = word;
        else
          columns[lane / 4][lane % 4 + (i - 4) * 4] = word;
      }
      return 0;
    });
  for (int i = 0; i < 4; ++i)
    c[i] += count(rows[threadIdx.x / 4 + i / 2 * 8], columns[threadIdx.x % 4 * 2 + i % 2]);
}

// The words of a row of K-major core matrices without swizzle, as a matrix descriptor finds them.
inline void read_row(std::uint64_t descriptor, int row, unsigned* words) {
  const auto field = [=](int bit) { return static_cast<unsigned>(descriptor >> bit & 0x3FFF) << 4; };
  if (descriptor >> 46) std::abort();
  for (int half = 0; half < 2; ++half) {
    const unsigned at = field(0) + half * field(16) + row / 8 * field(32) + row % 8 * 16;
    std::memcpy(words + half * 4, shared_memory + at, 16);
  }
}

inline thread_local std::vector<std::function<void()>> products;

// wgmma.m64nNk256: a warp has 16 of the rows, its lanes have sums as those of mma do.
inline void multiply_group(int* c, int width, std::uint64_t a, std::uint64_t w) {
  const auto differs = [](auto& lanes) { return *std::max_element(lanes, lanes + 32) != lanes[0]; };
  if (look_at_lanes(a, differs) || look_at_lanes(w, differs)) std::abort();
  products.push_back([=] {
    for (int i = 0; i < width / 2; ++i) {
      unsigned row[8], column[8];
      read_row(a, threadIdx.y % 4 * 16 + threadIdx.x / 4 + i / 2 % 2 * 8, row);
      read_row(w, i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2, column);
      c[i] += count(row, column);
    }
  });
}
inline void wait_for_products() {
  for (const auto& product : std::exchange(products, {})) product();
}

// Runs the blocks of one launch one after the other.
template <typename Kernel>
void launch(Place blocks, int warps, Kernel kernel) {
  std::vector<unsigned char> memory(dynamic_bytes + static_bytes, 0xA5);
  shared_memory = memory.data();
  block_barrier = std::make_unique<std::barrier<>>(warps * warp_size);
  warp_barriers.clear();
  for (int warp = 0; warp < warps; ++warp)
    warp_barriers.push_back(std::make_unique<std::barrier<>>(warp_size));
  for (int block = 0; block < blocks.x * blocks.y * blocks.z; ++block) {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < warps * warp_size; ++thread)
      threads.emplace_back([=] {
        threadIdx = {thread % warp_size, thread / warp_size, 0};
        blockIdx = {block % blocks.x, block / blocks.x % blocks.y, block / blocks.x / blocks.y};
        kernel();
      });
  }
}
