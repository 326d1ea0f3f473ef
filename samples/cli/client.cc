// See client.h.
#include "client.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>

namespace cli {

void throw_failure(dsv4_status status, const dsv4_error* error) { throw Failure(status, dsv4_error_message(error)); }

dsv4_model_info model_info(const dsv4_model* model) {
  dsv4_model_info info{};
  info.struct_size = sizeof info;
  check([&](dsv4_error** error) { return dsv4_model_info_get(model, &info, error); });
  return info;
}

Session create_session(dsv4_model* model, const dsv4_session_options& options) {
  dsv4_session* session = nullptr;
  check([&](dsv4_error** error) { return dsv4_session_create(model, &options, &session, error); });
  return Session(session);
}

// C streams rather than iostreams wherever a person may press Ctrl-C: they report an interrupted read.
static std::string read_stream(std::FILE* stream, const std::string& name) {
  std::string text;
  char buffer[65536];
  size_t count = 0;
  while ((count = std::fread(buffer, 1, sizeof buffer, stream)) > 0) text.append(buffer, count);
  if (!std::ferror(stream)) return text;
  if (errno == EINTR) throw Failure(DSV4_E_CANCELLED, "interrupted while reading " + name);
  throw Failure(DSV4_E_IO, "cannot read " + name + ": " + std::strerror(errno));
}

std::filesystem::path file_path(const std::string& utf8) {
  return std::filesystem::path(std::u8string(utf8.begin(), utf8.end()));
}

static std::FILE* open_file(const std::string& path) {
#ifdef _WIN32
  return _wfopen(file_path(path).c_str(), L"rb");
#else
  return std::fopen(path.c_str(), "rb");
#endif
}

std::string read_file(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(open_file(path), std::fclose);
  if (file == nullptr) {
    const int code = errno;
    throw Failure(code == ENOENT ? DSV4_E_NOT_FOUND : DSV4_E_IO, "cannot open " + path + ": " + std::strerror(code));
  }
  return read_stream(file.get(), path);
}

std::string read_standard_input() { return read_stream(stdin, "standard input"); }

void write_standard_output(const char* text, size_t length) {
  errno = 0;
  if (std::fwrite(text, 1, length, stdout) == length && std::fflush(stdout) == 0) return;
  if (errno == EPIPE) throw OutputClosed();
  throw Failure(DSV4_E_IO, std::string("cannot write to standard output: ") + std::strerror(errno));
}

OutputFile::OutputFile(const std::string& path) : path_(path), written_(path) {
  std::error_code ignored;
  const auto status = std::filesystem::status(file_path(path_), ignored);
  if (!std::filesystem::exists(status) || std::filesystem::is_regular_file(status)) written_ += ".partial";
  errno = 0;
  stream_.open(file_path(written_), std::ios::binary | std::ios::trunc);
  if (!stream_) fail("cannot write");
}

OutputFile::~OutputFile() {
  if (!stream_.is_open() || written_ == path_) return;
  stream_.close();
  std::error_code ignored;
  std::filesystem::remove(file_path(written_), ignored);
}

void OutputFile::write(const void* data, size_t bytes) {
  errno = 0;
  if (!stream_.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes))) fail("cannot write");
}

void OutputFile::commit() {
  errno = 0;
  stream_.flush();
  if (!stream_) fail("cannot write");
  stream_.close();
  if (written_ == path_) return;
  std::error_code code;
  std::filesystem::rename(file_path(written_), file_path(path_), code);
  if (!code) return;
  std::error_code ignored;
  std::filesystem::remove(file_path(written_), ignored);
  throw Failure(DSV4_E_IO, "cannot rename " + written_ + " to " + path_ + ": " + code.message());
}

void OutputFile::fail(const std::string& what) {
  const int code = errno;
  throw Failure(DSV4_E_IO, what + " " + written_ + ": " + (code != 0 ? std::strerror(code) : "write error"));
}

std::string with_thousands(uint64_t number) {
  std::string digits = std::to_string(number);
  for (size_t from_end = 3; from_end < digits.size(); from_end += 4) digits.insert(digits.size() - from_end, 1, ',');
  return digits;
}

std::string bytes_text(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"kB", "MB", "GB", "TB", "PB"};
  if (bytes < 1000) return std::to_string(bytes) + " B";
  double value = static_cast<double>(bytes) / 1000;
  size_t unit = 0;
  for (; value >= 999.95 && unit + 1 < std::size(kUnits); ++unit) value /= 1000;
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %s", value, kUnits[unit]);
  return text;
}

}  // namespace cli
