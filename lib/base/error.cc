#include "lib/base/error.h"

namespace dsv4 {

const char* status_name(Status status) {
  switch (status) {
    case Status::kOk: return "DSV4_OK";
    case Status::kInvalidArgument: return "DSV4_E_INVALID_ARGUMENT";
    case Status::kUnsupported: return "DSV4_E_UNSUPPORTED";
    case Status::kNotFound: return "DSV4_E_NOT_FOUND";
    case Status::kIo: return "DSV4_E_IO";
    case Status::kCorrupt: return "DSV4_E_CORRUPT";
    case Status::kIncompatible: return "DSV4_E_INCOMPATIBLE";
    case Status::kOutOfMemoryHost: return "DSV4_E_OUT_OF_MEMORY_HOST";
    case Status::kOutOfMemoryDevice: return "DSV4_E_OUT_OF_MEMORY_DEVICE";
    case Status::kDeviceLost: return "DSV4_E_DEVICE_LOST";
    case Status::kBusy: return "DSV4_E_BUSY";
    case Status::kContextFull: return "DSV4_E_CONTEXT_FULL";
    case Status::kCancelled: return "DSV4_E_CANCELLED";
    case Status::kInternal: return "DSV4_E_INTERNAL";
  }
  return "DSV4_E_UNKNOWN";
}

}  // namespace dsv4
