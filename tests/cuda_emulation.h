// Runs the threads of a block of CUDA code in turn, each until it waits for others.
//
// Copies past the registers are made when they are waited for, or, if `copies_early`, at once: both
// are allowed, and the code must be right with either. Products of a warpgroup are made when they
// are waited for.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <math.h>
#include <memory>
#include <type_traits>
#include <ucontext.h>
#include <utility>
#include <vector>

#define __CUDA_ARCH__ 900
#define __device__
#define __host__
#define __align__(bytes) alignas(bytes)
#define CUDART_INF_F INFINITY
#define __global__
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(threads)
#define __syncthreads() block_barrier.wait()
#define threadIdx current->index
#define blockIdx current_block

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
struct float2 {
  float x, y;
};
struct float4 {
  float x, y, z, w;
};
inline int2 make_int2(int x, int y) { return {x, y}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }

constexpr int warp_size = 32, most_warps = 32;
constexpr std::size_t dynamic_bytes = 227 << 10, static_bytes = 16 << 10,
                      stack_bytes = 64 << 10;

inline bool copies_early = false;
inline unsigned char* shared_memory;
inline std::int64_t exchanged[most_warps][warp_size];
inline Place current_block;

struct Copy {
  unsigned to;
  const void* from;
  int written, read;
  void make() const {
    std::memset(shared_memory + to, 0, written);
    std::memcpy(shared_memory + to, from, read);
  }
};

// A thread of the block, and what it has started.
struct Thread {
  ucontext_t context;
  std::unique_ptr<unsigned char[]> stack;
  Place index;
  int warp, lane;
  bool done;
  std::vector<Copy> copies;
  std::deque<std::vector<Copy>> groups_of_copies;
  std::vector<std::function<void()>> products;
  std::deque<std::vector<std::function<void()>>> groups_of_products;
};
inline Thread* current;
inline ucontext_t scheduler;
// Counts what lets threads go on: all wait forever once that stands still.
inline long progress;

// Threads that wait for each other until all are there.
struct Barrier {
  int threads = 0, waiting = 0, times = 0;
  void wait() {
    const int before = times;
    if (++waiting == threads) {
      waiting = 0;
      ++times;
      ++progress;
    }
    while (times == before) swapcontext(&current->context, &scheduler);
  }
};
inline Barrier block_barrier, warp_barriers[most_warps];

using half = _Float16;
using __half = half;
struct __half2 {
  half x, y;
};
inline half __float2half(float number) { return static_cast<half>(number); }
inline half __float2half_rn(float number) { return static_cast<half>(number); }
inline float __half2float(half number) { return number; }
inline bool __hgt(half a, half b) { return a > b; }
inline bool __hlt(half a, half b) { return a < b; }
inline float __uint_as_float(unsigned word) { return std::bit_cast<float>(word); }
inline int __popc(unsigned word) { return std::popcount(word); }
inline unsigned __activemask() { return ~0u; }
inline unsigned __cvta_generic_to_shared(const void* at) {
  return static_cast<unsigned>(static_cast<const unsigned char*>(at) - shared_memory);
}

// All lanes of a warp show a value and look at those of others.
template <typename Look>
auto look_at_lanes(std::int64_t value, Look look) {
  auto& lanes = exchanged[current->warp];
  lanes[current->lane] = value;
  warp_barriers[current->warp].wait();
  const auto seen = look(lanes);
  warp_barriers[current->warp].wait();
  return seen;
}
template <typename Number>
Number __shfl_sync(unsigned, Number value, int from, int) {
  std::int64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = look_at_lanes(bits, [=](auto& lanes) { return lanes[from % warp_size]; });
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
template <typename Number>
Number __shfl_down_sync(unsigned mask, Number value, int by, int width) {
  return __shfl_sync(mask, value, min(current->lane + by, warp_size - 1), width);
}
inline unsigned __ballot_sync(unsigned, bool vote) {
  return look_at_lanes(vote, [](auto& lanes) {
    unsigned word = 0;
    for (int i = 0; i < warp_size; ++i) word |= static_cast<unsigned>(lanes[i]) << i;
    return word;
  });
}

inline void copy(unsigned to, const void* from, int written, int read) {
  current->copies.push_back({to, from, written, read});
  if (copies_early) current->copies.back().make();
}
inline void commit_copies() {
  current->groups_of_copies.push_back(std::exchange(current->copies, {}));
}
inline void wait_for_copies(std::size_t left) {
  auto& groups = current->groups_of_copies;
  for (; groups.size() > left; groups.pop_front())
    if (!copies_early)
      for (const Copy& waiting : groups.front()) waiting.make();
}

// What a row and a column of 8 words give: the ones that both have, or sums of products.
inline int count(const unsigned* row, const unsigned* column) {
  int ones = 0;
  for (int word = 0; word < 8; ++word) ones += std::popcount(row[word] & column[word]);
  return ones;
}
template <typename Number>
float multiply(const unsigned* row, const unsigned* column) {
  constexpr int length = 8 * sizeof(unsigned) / sizeof(Number);
  Number a[length], w[length];
  std::memcpy(a, row, sizeof a);
  std::memcpy(w, column, sizeof w);
  float sum = 0;
  for (int i = 0; i < length; ++i) sum += static_cast<float>(a[i]) * static_cast<float>(w[i]);
  return sum;
}

// mma.m16n8, of 8 words of K: lanes have words of rows `lane / 4` and 8 more, and of column `lane / 4`.
template <typename Sum>
void multiply_warp(
    Sum* c, Sum (*dot)(const unsigned*, const unsigned*), unsigned a0, unsigned a1, unsigned a2,
    unsigned a3, unsigned w0, unsigned w1) {
  const unsigned words[] = {a0, a1, a2, a3, w0, w1};
  unsigned rows[16][8], columns[8][8];
  for (int i = 0; i < 6; ++i)
    look_at_lanes(words[i], [&, i](auto& lanes) {
      for (int other = 0; other < warp_size; ++other) {
        const auto word = static_cast<unsigned>(lanes[other]);
        if (i < 4)
          rows[other / 4 + i % 2 * 8][other % 4 + i / 2 * 4] = word;
        else
          columns[other / 4][other % 4 + (i - 4) * 4] = word;
      }
      return 0;
    });
  const int lane = current->lane;
  for (int i = 0; i < 4; ++i)
    c[i] += dot(rows[lane / 4 + i / 2 * 8], columns[lane % 4 * 2 + i % 2]);
}

// To 10 bits of mantissa, halves away from 0.
inline unsigned round_to_tf32(unsigned bits) { return (bits + 0x1000) & ~0x1FFFu; }

// The words of a row of K-major core matrices without swizzle, as a matrix descriptor finds them.
inline void read_row(std::uint64_t descriptor, int row, unsigned* words) {
  const auto field = [=](int bit) { return static_cast<unsigned>(descriptor >> bit & 0x3FFF) << 4; };
  if (descriptor >> 46) std::abort();
  for (int half = 0; half < 2; ++half) {
    const unsigned at = field(0) + half * field(16) + row / 8 * field(32) + row % 8 * 16;
    std::memcpy(words + half * 4, shared_memory + at, 16);
  }
}

// wgmma.m64nNk256: a warp has 16 of the rows, its lanes have sums as those of mma do.
inline void multiply_group(int* c, int width, std::uint64_t a, std::uint64_t w) {
  const auto differs = [](auto& lanes) { return *std::max_element(lanes, lanes + 32) != lanes[0]; };
  if (look_at_lanes(a, differs) || look_at_lanes(w, differs)) std::abort();
  const int warp = current->warp, lane = current->lane;
  current->products.push_back([=] {
    for (int i = 0; i < width / 2; ++i) {
      unsigned row[8], column[8];
      read_row(a, warp % 4 * 16 + lane / 4 + i / 2 % 2 * 8, row);
      read_row(w, i / 4 * 8 + lane % 4 * 2 + i % 2, column);
      c[i] += count(row, column);
    }
  });
}
inline void commit_products() {
  current->groups_of_products.push_back(std::exchange(current->products, {}));
}
inline void wait_for_products(std::size_t left) {
  auto& groups = current->groups_of_products;
  for (; groups.size() > left; groups.pop_front())
    for (const auto& product : groups.front()) product();
}

inline std::function<void()> kernel_of_threads;

inline void run_thread() {
  kernel_of_threads();
  current->done = true;
  ++progress;
  setcontext(&scheduler);
}

// Lets the threads of a block take turns until all are done.
inline void run_block(std::vector<Thread>& threads) {
  block_barrier = {static_cast<int>(threads.size())};
  for (auto& barrier : warp_barriers) barrier = {warp_size};
  for (Thread& thread : threads) {
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack.get();
    thread.context.uc_stack.ss_size = stack_bytes;
    makecontext(&thread.context, run_thread, 0);
    thread.done = false;
  }
  for (std::size_t done = 0; done < threads.size();) {
    const long before = progress;
    done = 0;
    for (Thread& thread : threads) {
      current = &thread;
      if (!thread.done) swapcontext(&scheduler, &thread.context);
      done += thread.done;
    }
    if (progress == before) {
      std::fprintf(stderr, "emulation: threads wait for others that are done\n");
      std::abort();
    }
  }
}

// Runs the blocks of one launch one after the other.
inline void launch(Place blocks, Place block, std::function<void()> kernel) {
  const int count = block.x * block.y * block.z;
  if (count % warp_size || count / warp_size > most_warps) std::abort();
  std::vector<unsigned char> memory(dynamic_bytes + static_bytes, 0xA5);
  shared_memory = memory.data();
  kernel_of_threads = std::move(kernel);
  std::vector<Thread> threads(count);
  for (int i = 0; i < count; ++i) {
    threads[i].stack.reset(new unsigned char[stack_bytes]);
    threads[i].index = {i % block.x, i / block.x % block.y, i / block.x / block.y};
    threads[i].warp = i / warp_size, threads[i].lane = i % warp_size;
  }
  for (int i = 0; i < blocks.x * blocks.y * blocks.z; ++i) {
    current_block = {i % blocks.x, i / blocks.x % blocks.y, i / blocks.x / blocks.y};
    run_block(threads);
  }
}
