// What this machine's processor is, in the words of packages.
#ifndef BNN_RUN_PROCESSOR_H_
#define BNN_RUN_PROCESSOR_H_

#include <set>
#include <string>

namespace bnn {

// As in the first part of a triple: x86_64, aarch64.
std::string architecture();

// What it can do, as /proc/cpuinfo spells it.
std::set<std::string> processor_flags();

}  // namespace bnn

#endif  // BNN_RUN_PROCESSOR_H_
