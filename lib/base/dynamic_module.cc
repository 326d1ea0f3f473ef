#include "lib/base/dynamic_module.h"

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace dsv4 {
namespace {

std::string containing_folder(const std::string& path) {
  const size_t end = path.find_last_of("/\\");
  return end == std::string::npos ? "" : path.substr(0, end);
}

}  // namespace

#ifdef _WIN32

std::string own_library_folder() {
  HMODULE module = nullptr;
  char path[4096];
  const DWORD flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
  if (!GetModuleHandleExA(flags, reinterpret_cast<LPCSTR>(&own_library_folder), &module)) return "";
  const DWORD length = GetModuleFileNameA(module, path, sizeof(path));
  return length == 0 || length == sizeof(path) ? "" : containing_folder(std::string(path, length));
}

void* open_module(const std::string& path, std::string& reason) {
  HMODULE module = LoadLibraryExA(path.c_str(), nullptr, LOAD_WITH_ALTERED_SEARCH_PATH);
  if (module == nullptr) reason = path + ": error " + std::to_string(GetLastError());
  return reinterpret_cast<void*>(module);
}

void* find_symbol(void* module, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(module), name));
}

#else

std::string own_library_folder() {
  Dl_info info = {};
  if (dladdr(reinterpret_cast<void*>(&own_library_folder), &info) == 0 || info.dli_fname == nullptr) return "";
  const std::string folder = containing_folder(info.dli_fname);
  return folder.empty() ? "." : folder;
}

void* open_module(const std::string& path, std::string& reason) {
  void* module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (module == nullptr) {
    const char* text = dlerror();
    reason = text != nullptr ? text : path;
  }
  return module;
}

void* find_symbol(void* module, const char* name) { return dlsym(module, name); }

#endif

}  // namespace dsv4
