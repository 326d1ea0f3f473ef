// dsv4.h, section "status, errors".

#include "lib/api/guard.h"

#include <cstring>
#include <iterator>
#include <new>

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

namespace {

constexpr dsv4_error kNoMemory = {DSV4_E_OUT_OF_MEMORY_HOST, false, "out of memory"};

#define DSV4_WITHOUT_MESSAGE(status) {status, false, #status "; there is no memory for a message that says more"}
constexpr dsv4_error kWithoutMessage[] = {
    DSV4_WITHOUT_MESSAGE(DSV4_E_INVALID_ARGUMENT),
    DSV4_WITHOUT_MESSAGE(DSV4_E_UNSUPPORTED),
    DSV4_WITHOUT_MESSAGE(DSV4_E_NOT_FOUND),
    DSV4_WITHOUT_MESSAGE(DSV4_E_IO),
    DSV4_WITHOUT_MESSAGE(DSV4_E_CORRUPT),
    DSV4_WITHOUT_MESSAGE(DSV4_E_INCOMPATIBLE),
    DSV4_WITHOUT_MESSAGE(DSV4_E_OUT_OF_MEMORY_HOST),
    DSV4_WITHOUT_MESSAGE(DSV4_E_OUT_OF_MEMORY_DEVICE),
    DSV4_WITHOUT_MESSAGE(DSV4_E_DEVICE_LOST),
    DSV4_WITHOUT_MESSAGE(DSV4_E_BUSY),
    DSV4_WITHOUT_MESSAGE(DSV4_E_CONTEXT_FULL),
    DSV4_WITHOUT_MESSAGE(DSV4_E_CANCELLED),
    DSV4_WITHOUT_MESSAGE(DSV4_E_INTERNAL),
};
#undef DSV4_WITHOUT_MESSAGE

const dsv4_error& without_message(dsv4_status status) {
  for (const dsv4_error& e : kWithoutMessage) {
    if (e.status == status) return e;
  }
  return kWithoutMessage[std::size(kWithoutMessage) - 1];
}

}  // namespace

// The message lies behind the error, in the same piece of memory.
dsv4_status report(dsv4_error** error, dsv4_status status, const char* message) noexcept {
  if (error == nullptr) return status;
  const size_t size = std::strlen(message) + 1;
  void* memory = ::operator new(sizeof(dsv4_error) + size, std::nothrow);
  if (memory == nullptr) {
    *error = const_cast<dsv4_error*>(&without_message(status));  // which nobody writes to
    return status;
  }
  char* text = static_cast<char*>(memory) + sizeof(dsv4_error);
  std::memcpy(text, message, size);
  *error = new (memory) dsv4_error{status, true, text};
  return status;
}

dsv4_status report_no_memory(dsv4_error** error) noexcept {
  if (error != nullptr) *error = const_cast<dsv4_error*>(&kNoMemory);
  return kNoMemory.status;
}

}  // namespace dsv4::api

dsv4_status dsv4_error_status(const dsv4_error* error) { return error != nullptr ? error->status : DSV4_OK; }

const char* dsv4_error_message(const dsv4_error* error) { return error != nullptr ? error->message : ""; }

void dsv4_error_release(dsv4_error** error) {
  if (error == nullptr) return;
  if (*error != nullptr && (*error)->owned) ::operator delete(*error);
  *error = nullptr;
}

const char* dsv4_status_name(dsv4_status status) { return dsv4::status_name(static_cast<dsv4::Status>(status)); }
