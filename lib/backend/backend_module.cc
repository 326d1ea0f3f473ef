#include "lib/backend/backend_module.h"

#include <cstring>

#include <fmt/format.h>

#include "lib/base/dynamic_module.h"
#include "lib/base/error.h"
#include "lib/base/file_map.h"

namespace dsv4 {
namespace {

#ifdef _WIN32
constexpr char kFileName[] = "dsv4_{}.dll";
#else
constexpr char kFileName[] = "libdsv4_{}.so";
#endif

}  // namespace

const BackendModule* open_backend_module(const std::string& name, std::string& reason) {
  const std::string folder = own_library_folder();
  const std::string path = join_path(folder, fmt::format(fmt::runtime(kFileName), name));
  if (folder.empty() || !file_exists(path)) {
    reason = fmt::format("no {} beside this library", fmt::format(fmt::runtime(kFileName), name));
    return nullptr;
  }
  void* library = open_module(path, reason);
  if (library == nullptr) return nullptr;
  const auto function = reinterpret_cast<BackendModuleFunction>(find_symbol(library, "dsv4_backend_module"));
  const BackendModule* module = function != nullptr ? function() : nullptr;
  if (module == nullptr || std::strcmp(module->seam, kSeam) != 0) {
    reason = fmt::format("{} was built for another version of this library ({}; {} expected)", path,
                         module != nullptr ? module->seam : "no dsv4_backend_module()", kSeam);
    return nullptr;
  }
  try {
    module->check_device();
  } catch (const Error& e) {
    reason = e.what();
    return nullptr;
  }
  return module;
}

}  // namespace dsv4
