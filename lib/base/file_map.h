// A file mapped for reading. Nothing is read until it is touched; two processes share the pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace dsv4 {

class FileMap {
 public:
  FileMap() = default;
  explicit FileMap(const std::string& path);  // Error: kNotFound, kIo (names the path and the system's reason)
  FileMap(FileMap&& other) noexcept;
  FileMap& operator=(FileMap&& other) noexcept;
  FileMap(const FileMap&) = delete;
  FileMap& operator=(const FileMap&) = delete;
  ~FileMap();

  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  const std::string& path() const { return path_; }

  // How the system should read ahead when a page is touched. kRandom: that page and no more; what is left at kNormal
  // may read megabytes around every touch. A hint.
  enum class Access { kNormal, kRandom };
  void advise(Access access) const;
  // Starts reading a range that will be touched soon; does not wait. A hint.
  void prefetch(size_t offset, size_t bytes) const;

 private:
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
  std::string path_;
};

// A whole small file. `limit` bounds the allocation: a longer file is kCorrupt.
std::string read_file(const std::string& path, size_t limit);
bool file_exists(const std::string& path);  // Error kIo: the system cannot tell
std::string join_path(const std::string& folder, const std::string& name);

}  // namespace dsv4
