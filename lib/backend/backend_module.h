// A backend in a shared library of its own, for machines that may lack what it links. The library exports one C
// function, dsv4_backend_module(), and is built from the same source with the same compiler as the core: the two talk
// through the classes of backend.h, and kSeam is what both must have been compiled with.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "lib/backend/backend.h"

namespace dsv4 {

#ifdef __VERSION__
#define DSV4_SEAM_COMPILER __VERSION__
#else
#define DSV4_SEAM_COMPILER "unknown compiler"
#endif
// DSV4_SEAM_HASH: of the headers that define the seam (CMakeLists.txt). Only who compares it has it.
#ifdef DSV4_SEAM_HASH
constexpr char kSeam[] = DSV4_SEAM_HASH ", " DSV4_SEAM_COMPILER;
#endif

struct ModuleOptions {
  int device = 0;
  uint64_t memory_limit = 0;  // bytes; 0: no limit of ours
};

struct BackendModule {
  const char* seam;
  int32_t version;                         // of what it is built on: 13000 for CUDA 13.0
  Backend* (*make)(const ModuleOptions&);  // throws Error
  void (*check_device)();                  // throws Error kUnsupported: this machine cannot run it
};

using BackendModuleFunction = const BackendModule* (*)();

// Opens the module of a backend, `libdsv4_NAME.so` beside this library. Null: `reason` says why it cannot be used.
const BackendModule* open_backend_module(const std::string& name, std::string& reason);

}  // namespace dsv4
