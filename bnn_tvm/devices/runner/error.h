// What goes wrong for reasons that a user can mend.
#ifndef BNN_RUN_ERROR_H_
#define BNN_RUN_ERROR_H_

#include <stdexcept>
#include <string>

namespace bnn {

class Error : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void require(bool condition, const std::string& message) {
  if (!condition) throw Error(message);
}

}  // namespace bnn

#endif  // BNN_RUN_ERROR_H_
