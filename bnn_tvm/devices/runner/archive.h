// The container of a package: a zip file whose comment ends in a digest of all before it.
#ifndef BNN_RUN_ARCHIVE_H_
#define BNN_RUN_ARCHIVE_H_

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

namespace bnn {

class Archive {
 public:
  // Takes a whole file; throws Error if a byte of it is missing, added or changed.
  explicit Archive(std::string data);

  std::size_t count() const { return entries_.size(); }

  // Unpacks a member of at most `limit` bytes.
  std::string read(const std::string& name, std::size_t limit) const;

 private:
  struct Entry {
    unsigned method;
    std::size_t offset, packed, size;
  };

  void read_directory(std::size_t end);
  std::size_t number(std::size_t at, int bytes) const;
  std::string_view part(std::size_t at, std::size_t size) const;

  std::string data_;
  std::map<std::string, Entry> entries_;
};

}  // namespace bnn

#endif  // BNN_RUN_ARCHIVE_H_
