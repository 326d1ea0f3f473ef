// The name of the function at an address, from the program's own symbol table, which also has those of internal
// linkage.
#pragma once

#include <cstdint>
#include <string>

namespace dsv4::simt {

std::string hexadecimal(uintptr_t value);  // "0x7f12"

std::string symbol_name(const void* function);  // demangled; the address in hexadecimal where there is no symbol

}  // namespace dsv4::simt
