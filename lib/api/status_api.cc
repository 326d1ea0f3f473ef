// dsv4.h, section "status, errors".

#include "lib/api/guard.h"

namespace dsv4::api {

// The header's numbers are the library's numbers.
static_assert(DSV4_OK == static_cast<int>(Status::kOk));
static_assert(DSV4_E_INVALID_ARGUMENT == static_cast<int>(Status::kInvalidArgument));
static_assert(DSV4_E_UNSUPPORTED == static_cast<int>(Status::kUnsupported));
static_assert(DSV4_E_NOT_FOUND == static_cast<int>(Status::kNotFound));
static_assert(DSV4_E_IO == static_cast<int>(Status::kIo));
static_assert(DSV4_E_CORRUPT == static_cast<int>(Status::kCorrupt));
static_assert(DSV4_E_INCOMPATIBLE == static_cast<int>(Status::kIncompatible));
static_assert(DSV4_E_OUT_OF_MEMORY_HOST == static_cast<int>(Status::kOutOfMemoryHost));
static_assert(DSV4_E_OUT_OF_MEMORY_DEVICE == static_cast<int>(Status::kOutOfMemoryDevice));
static_assert(DSV4_E_DEVICE_LOST == static_cast<int>(Status::kDeviceLost));
static_assert(DSV4_E_BUSY == static_cast<int>(Status::kBusy));
static_assert(DSV4_E_CONTEXT_FULL == static_cast<int>(Status::kContextFull));
static_assert(DSV4_E_CANCELLED == static_cast<int>(Status::kCancelled));
static_assert(DSV4_E_INTERNAL == static_cast<int>(Status::kInternal));

dsv4_status report(dsv4_error** error, dsv4_status status, const char* message) noexcept {
  if (error != nullptr) {
    try {
      *error = new dsv4_error{status, message};
    } catch (...) {
      *error = nullptr;
    }
  }
  return status;
}

}  // namespace dsv4::api

dsv4_status dsv4_error_status(const dsv4_error* error) { return error != nullptr ? error->status : DSV4_OK; }

const char* dsv4_error_message(const dsv4_error* error) { return error != nullptr ? error->message.c_str() : ""; }

void dsv4_error_release(dsv4_error** error) {
  if (error == nullptr) return;
  delete *error;
  *error = nullptr;
}

const char* dsv4_status_name(dsv4_status status) { return dsv4::status_name(static_cast<dsv4::Status>(status)); }
