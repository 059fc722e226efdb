// Decompression of the "deflate" format, RFC 1951: boards' cross compilers bring no zlib.
#ifndef BNN_RUN_INFLATE_H_
#define BNN_RUN_INFLATE_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace bnn {

// Unpacks `data` to exactly `size` bytes; throws Error for anything else.
std::string inflate(std::string_view data, std::size_t size);

}  // namespace bnn

#endif  // BNN_RUN_INFLATE_H_
