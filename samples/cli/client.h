// The C header made comfortable for C++: handles that release themselves, and a status that becomes an exception.
// Also the few file helpers the commands share. Everything that fails throws Failure; main.cc prints it and turns it
// into the exit code.
#pragma once

#include <dsv4.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace cli {

// An error of the library, or one of ours that reads the same.
class Failure : public std::runtime_error {
 public:
  Failure(dsv4_status status, const std::string& message) : std::runtime_error(message), status_(status) {}
  dsv4_status status() const { return status_; }

 private:
  dsv4_status status_;
};

// The reader of our output went away (`dsv4 run ... | head -1`): nothing is left to say, and nobody to say it to.
class OutputClosed : public std::exception {};

struct Release {
  void operator()(dsv4_model* model) const { dsv4_model_release(&model); }
  void operator()(dsv4_session* session) const { dsv4_session_release(&session); }
  void operator()(dsv4_conversation* conversation) const { dsv4_conversation_release(&conversation); }
  void operator()(dsv4_parser* parser) const { dsv4_parser_release(&parser); }
  void operator()(dsv4_error* error) const { dsv4_error_release(&error); }
};
using Model = std::unique_ptr<dsv4_model, Release>;
using Session = std::unique_ptr<dsv4_session, Release>;
using Conversation = std::unique_ptr<dsv4_conversation, Release>;
using Parser = std::unique_ptr<dsv4_parser, Release>;

[[noreturn]] void throw_failure(dsv4_status status, const dsv4_error* error);

// check([&](dsv4_error** error) { return dsv4_session_clear(session, error); });
template <class Call>
void check(Call&& call) {
  dsv4_error* error = nullptr;
  const dsv4_status status = std::forward<Call>(call)(&error);
  const std::unique_ptr<dsv4_error, Release> owner(error);
  if (status != DSV4_OK) throw_failure(status, error);
}

// What a call that fills the caller's array has to give, asked for its size first:
//   fetch<std::string>([&](char* text, size_t capacity, size_t* length, dsv4_error** error) { return dsv4_render(...);
//   })
template <class Array, class Call>
Array fetch(Call&& call) {
  size_t count = 0;
  check([&](dsv4_error** error) { return call(nullptr, 0, &count, error); });
  Array out(count, typename Array::value_type{});
  check([&](dsv4_error** error) { return call(out.data(), out.size(), &count, error); });
  return out;
}

dsv4_model_info model_info(const dsv4_model* model);
Session create_session(dsv4_model* model, const dsv4_session_options& options);

// Paths of the command line are UTF-8; for streams and std::filesystem, whose own narrow ones are something else on
// Windows.
std::filesystem::path file_path(const std::string& utf8);

std::string read_file(const std::string& path);
std::string read_standard_input();
void write_standard_output(const char* text, size_t length);  // flushes
inline void write_standard_output(const std::string& text) { write_standard_output(text.data(), text.size()); }

// A file that appears under its name only when it is whole: written beside it and renamed by commit(). What is not a
// regular file (a pipe, /dev/null) is written directly.
class OutputFile {
 public:
  explicit OutputFile(const std::string& path);
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile();

  void write(const void* data, size_t bytes);
  void commit();

 private:
  [[noreturn]] void fail(const std::string& what);

  std::string path_;
  std::string written_;  // path_ itself where it cannot be replaced
  std::ofstream stream_;
};

std::string with_thousands(uint64_t number);  // 1,048,576
std::string bytes_text(uint64_t bytes);       // 148.7 GB (powers of ten, as disks and bandwidths are given)

}  // namespace cli
