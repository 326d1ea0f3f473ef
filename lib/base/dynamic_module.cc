#include "lib/base/dynamic_module.h"

#include "lib/base/system_error.h"
#include "lib/base/system_path.h"
#include "lib/base/windows_api.h"

#ifndef _WIN32
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
  const DWORD flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
  if (!GetModuleHandleExW(flags, reinterpret_cast<LPCWSTR>(&own_library_folder), &module)) return "";
  std::wstring path(32768, L'\0');  // the longest there is
  const DWORD length = GetModuleFileNameW(module, path.data(), static_cast<DWORD>(path.size()));
  return length >= path.size() ? "" : containing_folder(utf8_from_wide({path.data(), length}));
}

void* open_module(const std::string& path, std::string& reason) {
  HMODULE module = LoadLibraryExW(system_path(path).c_str(), nullptr, LOAD_WITH_ALTERED_SEARCH_PATH);
  if (module == nullptr) reason = path + ": " + system_message(GetLastError());
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
