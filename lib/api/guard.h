// The edge of the library: exceptions become statuses here, and structs of the caller's version become ours.
#pragma once

#include <cstring>
#include <exception>
#include <new>
#include <string_view>

#include "include/dsv4.h"
#include "lib/base/error.h"

struct dsv4_error {
  dsv4_status status;
  bool owned;  // false: one of those that are always there, for when there is no memory for another
  const char* message;
};

namespace dsv4::api {

// Fills *error. Never throws: where there is no memory for the message, one that says so stands in for it.
dsv4_status report(dsv4_error** error, dsv4_status status, const char* message) noexcept;
// DSV4_E_OUT_OF_MEMORY_HOST, without needing any.
dsv4_status report_no_memory(dsv4_error** error) noexcept;

// Every fallible function of the header is `return guard(error, [&] { ... });`.
template <class Body>
dsv4_status guard(dsv4_error** error, Body&& body) noexcept {
  if (error != nullptr) *error = nullptr;
  try {
    body();
    return DSV4_OK;
  } catch (const Error& e) {
    return report(error, static_cast<dsv4_status>(e.status()), e.what());
  } catch (const std::bad_alloc&) {
    return report_no_memory(error);
  } catch (const std::exception& e) {
    return report(error, DSV4_E_INTERNAL, e.what());
  } catch (...) {
    return report(error, DSV4_E_INTERNAL, "unknown exception");
  }
}

template <class T>
T& required(T* pointer, const char* name) {
  if (pointer == nullptr) fail(Status::kInvalidArgument, "{}: must not be NULL", name);
  return *pointer;
}

// A caller's text: `length` bytes, or up to its NUL.
inline std::string_view text_of(const char* text, size_t length, const char* name) {
  if (text == nullptr && length == 0) return {};
  required(text, name);
  return length == DSV4_NUL_TERMINATED ? std::string_view(text) : std::string_view(text, length);
}

// The caller's options as this version knows them. An older caller's struct is shorter: what it lacks is zero. A newer
// one's is longer: what we do not know must be zero, or the caller asks for something that is not there.
template <class T>
T read_options(const T* options, const T& defaults, const char* name) {
  if (options == nullptr) return defaults;
  const size_t size = options->struct_size;
  if (size < sizeof(size_t)) {
    fail(Status::kInvalidArgument, "{}: struct_size is {}; set it up with the INIT macro or the init function", name,
         size);
  }
  T known{};
  std::memcpy(&known, options, size < sizeof(T) ? size : sizeof(T));
  known.struct_size = sizeof(T);
  const char* bytes = reinterpret_cast<const char*>(options);
  for (size_t i = sizeof(T); i < size; ++i) {
    if (bytes[i] != 0) {
      fail(Status::kUnsupported, "{}: byte {} is set, but library version {}.{}.{} knows {} bytes", name, i,
           DSV4_VERSION_MAJOR, DSV4_VERSION_MINOR, DSV4_VERSION_PATCH, sizeof(T));
    }
  }
  return known;
}

// Writes as much of `value` as the caller's struct has room for.
template <class T>
void write_info(T* out, T value, const char* name) {
  const size_t size = required(out, name).struct_size;
  if (size < sizeof(size_t))
    fail(Status::kInvalidArgument, "{}: struct_size is {}; set it to sizeof *{}", name, size, name);
  value.struct_size = size;
  std::memcpy(out, &value, size < sizeof(T) ? size : sizeof(T));
}

// The body of every *_init function.
template <class T>
void init_options(T* options, size_t struct_size, T defaults) {
  if (options == nullptr || struct_size < sizeof(size_t)) return;
  std::memset(static_cast<void*>(options), 0, struct_size);
  defaults.struct_size = struct_size;
  std::memcpy(static_cast<void*>(options), &defaults, struct_size < sizeof(T) ? struct_size : sizeof(T));
}

// (array, capacity, count): as many items as fit, and how many there are.
template <class T, class Items>
void write_items(const Items& items, T* out, size_t capacity, size_t* count) {
  if (out == nullptr && capacity != 0)
    fail(Status::kInvalidArgument, "the array is NULL, but its capacity is {}", capacity);
  const size_t n = items.size() < capacity ? items.size() : capacity;
  if (n != 0) std::memcpy(out, items.data(), n * sizeof(T));
  if (count != nullptr) *count = items.size();
}

}  // namespace dsv4::api
