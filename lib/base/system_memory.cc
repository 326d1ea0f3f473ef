#include "lib/base/system_memory.h"

#include <cstdio>
#include <cstring>

#include "lib/base/windows_api.h"

namespace dsv4 {

uint64_t available_memory() {
#ifdef _WIN32
  MEMORYSTATUSEX status{};
  status.dwLength = sizeof status;
  return GlobalMemoryStatusEx(&status) ? status.ullAvailPhys : 0;
#else
  // MemAvailable counts the page cache that can be dropped, which no system call reports.
  std::FILE* file = std::fopen("/proc/meminfo", "re");
  if (file == nullptr) return 0;
  char line[128];
  unsigned long long kilobytes = 0;
  while (std::fgets(line, sizeof line, file) != nullptr) {
    if (std::sscanf(line, "MemAvailable: %llu kB", &kilobytes) == 1) break;
  }
  std::fclose(file);
  return static_cast<uint64_t>(kilobytes) * 1024;
#endif
}

}  // namespace dsv4
