// Result<T>, a value or an Error, in the manner of std::expected; and what carries a callback's exception past C.
#pragma once

#include <dsv4.h>

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
#define DSV4_HPP_EXCEPTIONS 1
#else
#define DSV4_HPP_EXCEPTIONS 0
#endif

namespace dsv4 {

enum class Status : std::int32_t {
  ok = DSV4_OK,
  invalid_argument = DSV4_E_INVALID_ARGUMENT,
  unsupported = DSV4_E_UNSUPPORTED,
  not_found = DSV4_E_NOT_FOUND,
  io = DSV4_E_IO,
  corrupt = DSV4_E_CORRUPT,
  incompatible = DSV4_E_INCOMPATIBLE,
  out_of_memory_host = DSV4_E_OUT_OF_MEMORY_HOST,
  out_of_memory_device = DSV4_E_OUT_OF_MEMORY_DEVICE,
  device_lost = DSV4_E_DEVICE_LOST,
  busy = DSV4_E_BUSY,
  context_full = DSV4_E_CONTEXT_FULL,
  cancelled = DSV4_E_CANCELLED,
  internal = DSV4_E_INTERNAL
};

inline const char* status_name(Status status) noexcept { return dsv4_status_name(static_cast<dsv4_status>(status)); }

// Why a call failed: what a host can do about it, and a message that names the file, tensor or field.
class Error {
 public:
  Error(Status status, std::string message) : status_(status), message_(std::move(message)) {}

  Status status() const noexcept { return status_; }
  const std::string& message() const noexcept { return message_; }

 private:
  Status status_;
  std::string message_;
};

#if DSV4_HPP_EXCEPTIONS
// What Result::value() throws.
class Exception : public std::exception {
 public:
  explicit Exception(Error error)
      : error_(std::move(error)), what_(std::string(status_name(error_.status())) + ": " + error_.message()) {}

  const char* what() const noexcept override { return what_.c_str(); }
  const Error& error() const noexcept { return error_; }
  Status status() const noexcept { return error_.status(); }

 private:
  Error error_;
  std::string what_;
};
#endif

// A value, or the Error that it could not be had for.
template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;

  Result(T value) : value_(std::move(value)) {}  // NOLINT(google-explicit-constructor): return value;
  Result(Error error) : error_(std::in_place, std::move(error)) {}  // NOLINT(google-explicit-constructor)

  bool has_value() const noexcept { return value_.has_value(); }
  explicit operator bool() const noexcept { return has_value(); }

  // With a value only.
  T& operator*() & noexcept { return assert(value_), *value_; }
  const T& operator*() const& noexcept { return assert(value_), *value_; }
  T&& operator*() && noexcept { return assert(value_), std::move(*value_); }
  T* operator->() noexcept { return assert(value_), &*value_; }
  const T* operator->() const noexcept { return assert(value_), &*value_; }

  // Without a value only.
  const Error& error() const noexcept { return assert(error_), *error_; }

  template <class U>
  T value_or(U&& other) && {
    return value_ ? std::move(*value_) : static_cast<T>(std::forward<U>(other));
  }

  // next(value), which returns a Result itself; or the error, and `next` is not called.
  template <class F>
  auto and_then(F&& next) && -> std::invoke_result_t<F, T&&> {
    if (!value_) return std::move(*error_);
    return std::forward<F>(next)(std::move(*value_));
  }

#if DSV4_HPP_EXCEPTIONS
  // The value; throws Exception where there is none.
  T& value() & { return require(), *value_; }
  const T& value() const& { return require(), *value_; }
  T value() && { return require(), std::move(*value_); }
#endif

 private:
#if DSV4_HPP_EXCEPTIONS
  void require() const {
    if (!value_) throw Exception(*error_);
  }
#endif

  std::optional<T> value_;
  std::optional<Error> error_;
};

// Nothing, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;

  Result() = default;
  Result(Error error) : error_(std::in_place, std::move(error)) {}  // NOLINT(google-explicit-constructor)

  bool has_value() const noexcept { return !error_.has_value(); }
  explicit operator bool() const noexcept { return has_value(); }
  const Error& error() const noexcept { return assert(error_), *error_; }

  template <class F>
  auto and_then(F&& next) && -> std::invoke_result_t<F> {
    if (error_) return std::move(*error_);
    return std::forward<F>(next)();
  }

#if DSV4_HPP_EXCEPTIONS
  void value() const {
    if (error_) throw Exception(*error_);
  }
#endif

 private:
  std::optional<Error> error_;
};

namespace detail {

// The C library's error, which this owns for the length of one call.
class CError {
 public:
  CError() = default;
  CError(const CError&) = delete;
  CError& operator=(const CError&) = delete;
  ~CError() { dsv4_error_release(&error_); }

  dsv4_error** out() noexcept { return &error_; }
  Error take(dsv4_status status) const { return {static_cast<Status>(status), dsv4_error_message(error_)}; }

 private:
  dsv4_error* error_ = nullptr;
};

// call(dsv4_error **) as a Result.
template <class F>
Result<void> checked(F&& call) {
  CError error;
  const dsv4_status status = call(error.out());
  if (status != DSV4_OK) return error.take(status);
  return {};
}

// call(T *, dsv4_error **), which fills a T.
template <class T, class F>
Result<T> filled(F&& call) {
  T value{};
  CError error;
  const dsv4_status status = call(&value, error.out());
  if (status != DSV4_OK) return error.take(status);
  return value;
}

// call(items, capacity, &count, dsv4_error **), which fills an array: asked for its size first.
template <class Container, class F>
Result<Container> collected(F&& call) {
  Container items;
  for (;;) {
    CError error;
    std::size_t count = 0;
    const dsv4_status status = call(items.empty() ? nullptr : items.data(), items.size(), &count, error.out());
    if (status != DSV4_OK) return error.take(status);
    const bool all = count <= items.size();
    items.resize(count);
    if (all) return items;
  }
}

// An exception of the host's callback on its way past the C library, which it must not unwind.
class Caught {
 public:
  // body(), or `otherwise` if it throws.
  template <class R, class F>
  R run(R otherwise, F&& body) noexcept {
#if DSV4_HPP_EXCEPTIONS
    if (exception_) return otherwise;  // what comes after the first is not the host's any more
    try {
      return body();
    } catch (...) {
      exception_ = std::current_exception();
      return otherwise;
    }
#else
    (void)otherwise;
    return body();
#endif
  }

  void rethrow() {
#if DSV4_HPP_EXCEPTIONS
    if (exception_) std::rethrow_exception(std::exchange(exception_, nullptr));
#endif
  }

 private:
#if DSV4_HPP_EXCEPTIONS
  std::exception_ptr exception_;
#endif
};

}  // namespace detail
}  // namespace dsv4
