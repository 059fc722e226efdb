#include "archive.h"

#include <string_view>
#include <utility>

#include "error.h"
#include "inflate.h"
#include "sha256.h"

namespace bnn {
namespace {

constexpr std::string_view kComment = "bnn_tvm package; sha256 of all bytes before this digest: ";
constexpr std::size_t kDigest = 64;
// The fixed parts of the zip format's records, and the numbers that these begin with.
constexpr std::size_t kEndSize = 22, kEntrySize = 46, kHeaderSize = 30;
constexpr std::size_t kEnd = 0x06054b50, kEntry = 0x02014b50, kHeader = 0x04034b50;
constexpr unsigned kStored = 0, kDeflated = 8;
constexpr unsigned kEncrypted = 1;

}  // namespace

Archive::Archive(std::string data) : data_(std::move(data)) {
  constexpr std::size_t kTail = kEndSize + kComment.size() + kDigest;
  require(data_.size() >= kTail &&
              part(data_.size() - kDigest - kComment.size(), kComment.size()) == kComment,
          "it is no bnn_tvm package, or its end is cut off");
  const std::size_t body = data_.size() - kDigest;
  require(sha256(part(0, body)) == part(body, kDigest), "its checksum does not match");
  read_directory(data_.size() - kTail);
}

void Archive::read_directory(std::size_t end) {
  require(number(end, 4) == kEnd, "it is no zip file");
  const std::size_t count = number(end + 10, 2);
  std::size_t at = number(end + 16, 4);
  for (std::size_t i = 0; i < count; ++i) {
    require(number(at, 4) == kEntry, "its directory is damaged");
    require((number(at + 8, 2) & kEncrypted) == 0, "a member is encrypted");
    const std::size_t name = number(at + 28, 2);
    const Entry entry = {static_cast<unsigned>(number(at + 10, 2)), number(at + 42, 4),
                         number(at + 20, 4), number(at + 24, 4)};
    const bool is_new = entries_.emplace(part(at + kEntrySize, name), entry).second;
    require(is_new, "it has two members of one name");
    at += kEntrySize + name + number(at + 30, 2) + number(at + 32, 2);
  }
}

std::string Archive::read(const std::string& name, std::size_t limit) const {
  const auto found = entries_.find(name);
  require(found != entries_.end(), "it lacks its member " + name);
  const Entry& entry = found->second;
  require(entry.size <= limit, name + " is too large");
  require(number(entry.offset, 4) == kHeader, name + " is damaged");
  const std::size_t start =
      entry.offset + kHeaderSize + number(entry.offset + 26, 2) + number(entry.offset + 28, 2);
  const std::string_view packed = part(start, entry.packed);
  if (entry.method == kDeflated) return inflate(packed, entry.size);
  require(entry.method == kStored && packed.size() == entry.size,
          name + " is packed in a way that is not allowed");
  return std::string(packed);
}

// A number that is stored with its lowest byte first.
std::size_t Archive::number(std::size_t at, int bytes) const {
  const std::string_view digits = part(at, static_cast<std::size_t>(bytes));
  std::size_t value = 0;
  for (int i = bytes; i-- > 0;)
    value = value << 8 | static_cast<unsigned char>(digits[static_cast<std::size_t>(i)]);
  return value;
}

std::string_view Archive::part(std::size_t at, std::size_t size) const {
  require(at <= data_.size() && size <= data_.size() - at, "it is damaged");
  return std::string_view(data_).substr(at, size);
}

}  // namespace bnn
