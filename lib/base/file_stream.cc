#include "lib/base/file_stream.h"

#include <algorithm>
#include <atomic>
#include <cerrno>

#include "lib/base/error.h"
#include "lib/base/system_error.h"
#include "lib/base/windows_api.h"

#ifndef _WIN32
#include <fcntl.h>
#include <unistd.h>
#endif

namespace dsv4 {
namespace {

constexpr int kAttempts = 1000;          // names that another writer, or a crash, may have left
constexpr size_t kMostAtOnce = 1 << 30;  // some systems refuse a call of 2 GiB or more

// In the same folder, as renaming across file systems does not work; with the process's number, as several may write
// the same path: then the last to finish wins, whole.
std::string name_beside(const std::string& path) {
  static std::atomic<uint32_t> counter{0};
#ifdef _WIN32
  const auto process = static_cast<long>(GetCurrentProcessId());
#else
  const auto process = static_cast<long>(getpid());
#endif
  return fmt::format("{}.{}-{}.part", path, process, counter.fetch_add(1));
}

}  // namespace

#ifdef _WIN32

namespace {
HANDLE handle_of(intptr_t handle) { return reinterpret_cast<HANDLE>(handle); }
}  // namespace

FileWriter::FileWriter(const std::string& path) : path_(path) {
  for (int i = 0; i < kAttempts; ++i) {
    beside_ = system_path(name_beside(path));
    HANDLE file = CreateFileW(beside_.c_str(), GENERIC_WRITE, 0, nullptr, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, nullptr);
    if (file != INVALID_HANDLE_VALUE) {
      handle_ = reinterpret_cast<intptr_t>(file);
      return;
    }
    const DWORD error = GetLastError();
    if (error != ERROR_FILE_EXISTS) fail_system(path, "cannot create a file beside it", error);
  }
  fail(Status::kIo, "{}: cannot create a file beside it: {} names are taken", path, kAttempts);
}

void FileWriter::discard() noexcept {
  if (handle_ != -1) CloseHandle(handle_of(handle_));
  handle_ = -1;
  if (!beside_.empty()) DeleteFileW(beside_.c_str());
  beside_.clear();
}

void FileWriter::write(const void* data, size_t size) {
  const uint8_t* p = static_cast<const uint8_t*>(data);
  while (size != 0) {
    DWORD written = 0;
    if (!WriteFile(handle_of(handle_), p, static_cast<DWORD>(std::min(size, kMostAtOnce)), &written, nullptr)) {
      fail_system(path_, "cannot write", GetLastError());
    }
    p += written;
    size -= written;
  }
}

void FileWriter::commit() {
  if (!FlushFileBuffers(handle_of(handle_))) fail_system(path_, "cannot write", GetLastError());
  CloseHandle(handle_of(handle_));
  handle_ = -1;
  if (!MoveFileExW(beside_.c_str(), system_path(path_).c_str(), MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH)) {
    fail_system(path_, "cannot put the new file in its place", GetLastError());
  }
  beside_.clear();
}

FileReader::FileReader(const std::string& path) : path_(path) {
  HANDLE file = CreateFileW(system_path(path).c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE, nullptr,
                            OPEN_EXISTING, FILE_FLAG_SEQUENTIAL_SCAN, nullptr);
  if (file == INVALID_HANDLE_VALUE) fail_system(path, "cannot open", GetLastError());
  handle_ = reinterpret_cast<intptr_t>(file);
}

FileReader::~FileReader() { CloseHandle(handle_of(handle_)); }

size_t FileReader::read(void* data, size_t size) {
  DWORD count = 0;
  if (!ReadFile(handle_of(handle_), data, static_cast<DWORD>(std::min(size, kMostAtOnce)), &count, nullptr)) {
    fail_system(path_, "cannot read", GetLastError());
  }
  return count;
}

#else

namespace {

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash + 1);
}

// A new name lasts only once its folder is on the disk. Some file systems cannot do that and need not.
void sync_folder(const std::string& folder, const std::string& path) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;  // may be written to and not read
  const int error = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  if (error == EIO) fail_errno(path, "cannot write its folder", error);
}

}  // namespace

FileWriter::FileWriter(const std::string& path) : path_(path) {
  for (int i = 0; i < kAttempts; ++i) {
    beside_ = name_beside(path);
    handle_ = open(beside_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (handle_ >= 0) return;
    if (errno != EEXIST) fail_errno(path, "cannot create a file beside it", errno);
  }
  fail(Status::kIo, "{}: cannot create a file beside it: {} names are taken", path, kAttempts);
}

void FileWriter::discard() noexcept {
  if (handle_ >= 0) close(static_cast<int>(handle_));
  handle_ = -1;
  if (!beside_.empty()) unlink(beside_.c_str());
  beside_.clear();
}

void FileWriter::write(const void* data, size_t size) {
  const uint8_t* p = static_cast<const uint8_t*>(data);
  while (size != 0) {
    const ssize_t written = ::write(static_cast<int>(handle_), p, std::min(size, kMostAtOnce));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_errno(path_, "cannot write", errno);
    p += written;
    size -= static_cast<size_t>(written);
  }
}

void FileWriter::commit() {
  const std::string folder = folder_of(path_);  // before the file has its name: what may fail goes first
  if (fsync(static_cast<int>(handle_)) != 0) fail_errno(path_, "cannot write", errno);
  const int closed = close(static_cast<int>(handle_));
  handle_ = -1;
  if (closed != 0) fail_errno(path_, "cannot write", errno);
  if (rename(beside_.c_str(), path_.c_str()) != 0) fail_errno(path_, "cannot put the new file in its place", errno);
  beside_.clear();
  sync_folder(folder, path_);
}

FileReader::FileReader(const std::string& path) : path_(path), handle_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (handle_ < 0) fail_errno(path, "cannot open", errno);
}

FileReader::~FileReader() { close(static_cast<int>(handle_)); }

size_t FileReader::read(void* data, size_t size) {
  for (;;) {
    const ssize_t count = ::read(static_cast<int>(handle_), data, std::min(size, kMostAtOnce));
    if (count >= 0) return static_cast<size_t>(count);
    if (errno != EINTR) fail_errno(path_, "cannot read", errno);
  }
}

#endif

FileWriter::~FileWriter() { discard(); }

}  // namespace dsv4
