// SHA-256, as FIPS 180-4 has it.
#ifndef BNN_RUN_SHA256_H_
#define BNN_RUN_SHA256_H_

#include <string>
#include <string_view>

namespace bnn {

// Digests all bytes; returns 64 hexadecimal digits.
std::string sha256(std::string_view data);

}  // namespace bnn

#endif  // BNN_RUN_SHA256_H_
