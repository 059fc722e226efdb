#include "sha256.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace bnn {
namespace {

constexpr std::size_t kBlock = 64;
// Bytes at the end of the last block that hold the length of the message.
constexpr std::size_t kLength = 8;

// Of the cube roots of the first 64 primes, the first 32 bits of the fractions.
constexpr std::array<std::uint32_t, 64> kRound = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

using State = std::array<std::uint32_t, 8>;

// Of the square roots of the first 8 primes, likewise.
constexpr State kStart = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                          0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

std::uint32_t rotate(std::uint32_t x, int count) { return x >> count | x << (32 - count); }

std::array<std::uint32_t, 64> expand(std::string_view block) {
  std::array<std::uint32_t, 64> w{};
  for (std::size_t i = 0; i < kBlock; ++i)
    w[i / 4] = w[i / 4] << 8 | static_cast<unsigned char>(block[i]);
  for (std::size_t i = 16; i < w.size(); ++i) {
    const std::uint32_t a = w[i - 15], b = w[i - 2];
    const std::uint32_t low = rotate(a, 7) ^ rotate(a, 18) ^ a >> 3;
    const std::uint32_t high = rotate(b, 17) ^ rotate(b, 19) ^ b >> 10;
    w[i] = w[i - 16] + low + w[i - 7] + high;
  }
  return w;
}

void add_block(State& state, std::string_view block) {
  const std::array<std::uint32_t, 64> w = expand(block);
  auto [a, b, c, d, e, f, g, h] = state;
  for (std::size_t i = 0; i < w.size(); ++i) {
    const std::uint32_t choice = (e & f) ^ (~e & g), majority = (a & b) ^ (a & c) ^ (b & c);
    const std::uint32_t one = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
    const std::uint32_t two = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
    const std::uint32_t first = h + one + choice + kRound[i] + w[i];
    h = g, g = f, f = e, e = d + first;
    d = c, c = b, b = a, a = first + two + majority;
  }
  const State sum = {a, b, c, d, e, f, g, h};
  for (std::size_t i = 0; i < sum.size(); ++i) state[i] += sum[i];
}

// What follows the last whole block: the rest of the message, a bit, zeros, the length in bits.
std::string last_blocks(std::string_view data) {
  std::string tail(data.substr(data.size() - data.size() % kBlock));
  tail += '\x80';
  while (tail.size() % kBlock != kBlock - kLength) tail += '\0';
  const std::uint64_t bits = static_cast<std::uint64_t>(data.size()) * 8;
  for (int shift = 56; shift >= 0; shift -= 8) tail += static_cast<char>(bits >> shift & 0xff);
  return tail;
}

}  // namespace

std::string sha256(std::string_view data) {
  State state = kStart;
  const std::string tail = last_blocks(data);
  for (std::size_t at = 0; at + kBlock <= data.size(); at += kBlock)
    add_block(state, data.substr(at, kBlock));
  for (std::size_t at = 0; at < tail.size(); at += kBlock)
    add_block(state, std::string_view(tail).substr(at, kBlock));
  std::string digest;
  for (const std::uint32_t word : state)
    for (int shift = 28; shift >= 0; shift -= 4) digest += "0123456789abcdef"[word >> shift & 15];
  return digest;
}

}  // namespace bnn
