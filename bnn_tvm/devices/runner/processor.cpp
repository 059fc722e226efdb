#include "processor.h"

#include <sys/utsname.h>

#include "error.h"

#if defined(__aarch64__)
#include <sys/auxv.h>
#else
#include <fstream>
#include <sstream>
#endif

namespace bnn {

std::string architecture() {
  utsname names;
  require(uname(&names) == 0, "this machine does not say what it is");
  return names.machine;
}

#if defined(__aarch64__)

// The kernel tells each program, under an emulator too, whose /proc/cpuinfo may be another's.
std::set<std::string> processor_flags() {
  // Of the bits of AT_HWCAP, from the lowest.
  constexpr const char* kNames[] = {
      "fp",       "asimd",   "evtstrm", "aes",   "pmull", "sha1",  "sha2",    "crc32",
      "atomics",  "fphp",    "asimdhp", "cpuid", "asimdrdm", "jscvt", "fcma",  "lrcpc",
      "dcpop",    "sha3",    "sm3",     "sm4",   "asimddp", "sha512", "sve",   "asimdfhm",
      "dit",      "uscat",   "ilrcpc",  "flagm", "ssbs",  "sb",    "paca",    "pacg"};
  const unsigned long bits = getauxval(AT_HWCAP);
  std::set<std::string> flags;
  for (int bit = 0; bit < 32; ++bit)
    if (bits >> bit & 1) flags.insert(kNames[bit]);
  return flags;
}

#else

std::set<std::string> processor_flags() {
  std::ifstream file("/proc/cpuinfo");
  std::string line, flag;
  while (std::getline(file, line) && line.compare(0, 5, "flags") != 0) continue;
  std::istringstream words(line.substr(line.find(':') + 1));
  std::set<std::string> flags;
  while (words >> flag) flags.insert(flag);
  return flags;
}

#endif

}  // namespace bnn
