// Libraries that are opened while a program runs, for parts that need what not every machine has.
#pragma once

#include <string>

namespace dsv4 {

// The folder of the shared library that this code is part of; of the program where it is linked statically. Empty where
// the system does not tell.
std::string own_library_folder();

// Opens the library at an absolute path, its symbols seen by nobody else. Null: `reason` says why. It is never closed:
// what it has started (a driver's threads, say) may outlive its last user.
void* open_module(const std::string& path, std::string& reason);
void* find_symbol(void* module, const char* name);  // null: not there

}  // namespace dsv4
