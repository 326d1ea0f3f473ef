#include "tests/simt/symbol_name.h"

#include <cxxabi.h>
#include <elf.h>
#include <link.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <string_view>
#include <vector>

namespace dsv4::simt {
namespace {

// Where the program itself was loaded: the first object that the loader tells of.
int first_object(dl_phdr_info* info, size_t, void* bias) {
  *static_cast<uintptr_t*>(bias) = info->dlpi_addr;
  return 1;
}

template <class T>
T at(const std::string& file, size_t offset) {
  T value{};
  if (offset + sizeof(T) <= file.size()) std::memcpy(&value, file.data() + offset, sizeof(T));
  return value;
}

// The mangled name of the function that begins at `address` of an ELF file, or "".
std::string find(const std::string& file, uintptr_t address) {
  const auto header = at<ElfW(Ehdr)>(file, 0);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return "";
  for (size_t s = 0; s < header.e_shnum; ++s) {
    const auto section = at<ElfW(Shdr)>(file, header.e_shoff + s * sizeof(ElfW(Shdr)));
    if (section.sh_type != SHT_SYMTAB) continue;
    const auto strings = at<ElfW(Shdr)>(file, header.e_shoff + section.sh_link * sizeof(ElfW(Shdr)));
    for (size_t i = 0; i + sizeof(ElfW(Sym)) <= section.sh_size; i += sizeof(ElfW(Sym))) {
      const auto symbol = at<ElfW(Sym)>(file, section.sh_offset + i);
      if ((symbol.st_info & 0xf) != STT_FUNC || symbol.st_value != address) continue;
      const size_t name = strings.sh_offset + symbol.st_name;
      return name < file.size() ? std::string(file.c_str() + name) : "";
    }
  }
  return "";
}

}  // namespace

std::string hexadecimal(uintptr_t value) {
  std::string text;
  do {
    text.insert(text.begin(), "0123456789abcdef"[value % 16]);
    value /= 16;
  } while (value != 0);
  return "0x" + text;
}

std::string symbol_name(const void* function) {
  const auto address = reinterpret_cast<uintptr_t>(function);
  uintptr_t bias = 0;
  dl_iterate_phdr(first_object, &bias);
  std::ifstream in("/proc/self/exe", std::ios::binary);
  const std::string file{std::istreambuf_iterator<char>(in), {}};
  const std::string mangled = find(file, address - bias);
  if (mangled.empty()) return hexadecimal(address);
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status),
                                                    std::free);
  return status == 0 ? name.get() : mangled;
}

}  // namespace dsv4::simt
