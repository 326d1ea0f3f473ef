#include "lib/base/file_map.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/system_error.h"
#include "lib/base/system_path.h"
#include "lib/base/windows_api.h"

#ifndef _WIN32
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace dsv4 {
namespace {

#ifdef _WIN32

class FileHandle {
 public:
  explicit FileHandle(const std::string& path)
      : handle_(CreateFileW(system_path(path).c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE, nullptr,
                            OPEN_EXISTING, 0, nullptr)) {
    if (handle_ == INVALID_HANDLE_VALUE) fail_to_open(path, GetLastError());
  }
  ~FileHandle() { CloseHandle(handle_); }
  FileHandle(const FileHandle&) = delete;
  FileHandle& operator=(const FileHandle&) = delete;
  HANDLE get() const { return handle_; }

 private:
  // A folder is refused as if it were locked.
  [[noreturn]] static void fail_to_open(const std::string& path, DWORD error) {
    const DWORD attributes = error == ERROR_ACCESS_DENIED ? GetFileAttributesW(system_path(path).c_str()) : 0;
    if (attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0) {
      fail(Status::kIo, "{}: not a regular file", path);
    }
    fail_system(path, "cannot open", error);
  }

  HANDLE handle_;
};

#else

class Descriptor {
 public:
  explicit Descriptor(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ < 0) fail_errno(path, "cannot open", errno);
  }
  ~Descriptor() { close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

#endif

}  // namespace

#ifdef _WIN32

FileMap::FileMap(const std::string& path) : path_(path) {
  const FileHandle file(path);
  if (GetFileType(file.get()) != FILE_TYPE_DISK) fail(Status::kIo, "{}: not a regular file", path);
  LARGE_INTEGER size{};
  if (!GetFileSizeEx(file.get(), &size)) fail_system(path, "cannot read its size", GetLastError());
  size_ = static_cast<size_t>(size.QuadPart);
  if (size_ == 0) return;
  HANDLE mapping = CreateFileMappingW(file.get(), nullptr, PAGE_READONLY, 0, 0, nullptr);
  if (mapping == nullptr) fail_system(path, "cannot map", GetLastError());
  data_ = static_cast<const uint8_t*>(MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0));
  const DWORD error = GetLastError();
  CloseHandle(mapping);  // the view keeps it
  if (data_ == nullptr) fail_system(path, "cannot map", error);
}

FileMap::~FileMap() {
  if (data_ != nullptr) UnmapViewOfFile(data_);
}

void FileMap::advise(Access) const {}

void FileMap::prefetch(size_t offset, size_t bytes) const {
  if (offset >= size_) return;
  WIN32_MEMORY_RANGE_ENTRY range{const_cast<uint8_t*>(data_) + offset, std::min(bytes, size_ - offset)};
  PrefetchVirtualMemory(GetCurrentProcess(), 1, &range, 0);
}

#else

FileMap::FileMap(const std::string& path) : path_(path) {
  Descriptor file(path);
  struct stat info {};
  if (fstat(file.get(), &info) != 0) fail_errno(path, "cannot read its size", errno);
  if (!S_ISREG(info.st_mode)) fail(Status::kIo, "{}: not a regular file", path);
  size_ = static_cast<size_t>(info.st_size);
  if (size_ == 0) return;
  void* p = mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.get(), 0);
  if (p == MAP_FAILED) fail_errno(path, "cannot map", errno);
  data_ = static_cast<const uint8_t*>(p);
}

void FileMap::advise(Access access) const {
  if (size_ == 0) return;
  posix_madvise(const_cast<uint8_t*>(data_), size_, access == Access::kRandom ? POSIX_MADV_RANDOM : POSIX_MADV_NORMAL);
}

void FileMap::prefetch(size_t offset, size_t bytes) const {
  if (offset >= size_) return;
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t begin = offset / page * page;  // advice is given for whole pages
  posix_madvise(const_cast<uint8_t*>(data_) + begin, std::min(bytes, size_ - offset) + (offset - begin),
                POSIX_MADV_WILLNEED);
}

FileMap::~FileMap() {
  if (data_ != nullptr) munmap(const_cast<uint8_t*>(data_), size_);
}

#endif

FileMap::FileMap(FileMap&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)), path_(std::move(other.path_)) {}

FileMap& FileMap::operator=(FileMap&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(path_, other.path_);
  return *this;
}

std::string read_file(const std::string& path, size_t limit) {
  const FileMap map(path);
  if (map.size() > limit) {
    fail(Status::kCorrupt, "{}: {} bytes, at most {} expected of such a file", path, map.size(), limit);
  }
  return map.size() == 0 ? std::string() : std::string(reinterpret_cast<const char*>(map.data()), map.size());
}

bool file_exists(const std::string& path) {
#ifdef _WIN32
  if (GetFileAttributesW(system_path(path).c_str()) != INVALID_FILE_ATTRIBUTES) return true;
  const DWORD error = GetLastError();
  if (!is_missing(error)) fail_system(path, "cannot be looked for", error);
  return false;
#else
  struct stat info {};
  if (stat(path.c_str(), &info) == 0) return true;
  if (errno != ENOENT && errno != ENOTDIR) fail_errno(path, "cannot be looked for", errno);
  return false;
#endif
}

std::string join_path(const std::string& folder, const std::string& name) {
  if (folder.empty() || folder.back() == '/') return folder + name;
#ifdef _WIN32
  if (folder.back() == '\\') return folder + name;
#endif
  return folder + "/" + name;
}

}  // namespace dsv4
