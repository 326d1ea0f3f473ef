// Files from beginning to end: one that is written beside and takes its name only when it is whole and on the disk, and
// one that is read in order. Unlike a FileMap, what is read may be cut short meanwhile: that is an end, not a crash.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "lib/base/system_path.h"

namespace dsv4 {

// Until commit() the path keeps what it held; without it nothing is left behind. Errors name the path: kNotFound (its
// folder), kIo.
class FileWriter {
 public:
  explicit FileWriter(const std::string& path);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void write(const void* data, size_t size);
  // To the disk, then under its name, then the folder to the disk.
  void commit();

 private:
  void discard() noexcept;

  std::string path_;
  SystemPath beside_;     // "" once it has its name
  intptr_t handle_ = -1;  // a descriptor, or a HANDLE; -1: closed
};

class FileReader {
 public:
  explicit FileReader(const std::string& path);  // Error: kNotFound, kIo
  ~FileReader();
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;

  // Up to `size` bytes; 0 at the end. Error kIo.
  size_t read(void* data, size_t size);

 private:
  std::string path_;
  intptr_t handle_ = -1;
};

}  // namespace dsv4
