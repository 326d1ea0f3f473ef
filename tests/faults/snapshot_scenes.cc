// Saving and restoring, by path and through the host's callbacks, which fail in their own ways.
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <doctest/doctest.h>

#include "tests/faults/session_scene.h"

namespace dsv4::test {
namespace {

namespace fs = std::filesystem;

// A fresh name in the system's folder for such things, gone with this.
class TempFolder {
 public:
  TempFolder() {
    static int count = 0;
    path_ = fs::temp_directory_path() / ("dsv4-faults-" + std::to_string(getpid()) + "-" + std::to_string(count++));
    fs::create_directories(path_);
    file_ = (path_ / "snapshot").string();
  }
  ~TempFolder() { fs::remove_all(path_); }
  const std::string& file() const { return file_; }
  size_t files() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(path_), fs::directory_iterator()));
  }
  std::string read() const {
    std::ifstream in(file(), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void write(const std::string& bytes) const { std::ofstream(file(), std::ios::binary) << bytes; }

 private:
  fs::path path_;
  std::string file_;
};

struct CallbackState {
  bool armed = false, fired = false;
  CallbackFault fault = CallbackFault::kGivesUp;
  int64_t nth = 0, seen = 0;

  bool comes_now() {
    if (!armed || ++seen != nth) return false;
    fired = true;
    return true;
  }
};
CallbackState callbacks;

int32_t write_bytes(void* user, const void* data, size_t size) {
  const NoFaults mine;
  if (callbacks.comes_now()) return 5;
  static_cast<std::string*>(user)->append(static_cast<const char*>(data), size);
  return 0;
}

struct Cursor {
  const std::string* bytes;
  size_t at = 0;
};
int64_t read_bytes(void* user, void* data, size_t size) {
  Cursor& c = *static_cast<Cursor*>(user);
  size_t n = std::min(size, c.bytes->size() - c.at);
  if (callbacks.comes_now()) {
    if (callbacks.fault == CallbackFault::kGivesUp) return -5;
    n = callbacks.fault == CallbackFault::kEnd ? 0 : 1;
  }
  std::memcpy(data, c.bytes->data() + c.at, n);
  c.at += n;
  return static_cast<int64_t>(n);
}

std::string saved(dsv4_session* s) {
  std::string bytes;
  dsv4_error* error = nullptr;
  need(dsv4_session_save(s, write_bytes, &bytes, nullptr, &error), error);
  return bytes;
}

const char* const kOld = "what was there before";

class SaveScene final : public SessionScene {
 public:
  SaveScene(const Stage* stage, dsv4_session* from, Way way) : SessionScene(*stage, from), way_(way) {
    folder_.write(kOld);
  }
  dsv4_status call(dsv4_error** error) override {
    bytes_.clear();
    if (way_ == Way::kCallback) return dsv4_session_save(session_, write_bytes, &bytes_, nullptr, error);
    const dsv4_status status = dsv4_session_save_path(session_, folder_.file().c_str(), nullptr, error);
    const NoFaults mine;
    CHECK(folder_.files() == 1);  // nothing is left beside it
    bytes_ = folder_.read();
    if (status != DSV4_OK) CHECK((bytes_ == kOld || is_whole()));
    return status;
  }
  // Where memory forbids it parts are stored uncompressed: so what counts is what it restores to.
  std::string after() override {
    dsv4_session* other = stage_.create(kContext);
    Cursor cursor{&bytes_};
    dsv4_error* error = nullptr;
    need(dsv4_session_restore(other, read_bytes, &cursor, &error), error);
    const std::string out = all_of(session_) + all_of(other);
    dsv4_session_release(&other);
    return out;
  }

 private:
  bool is_whole() const { return bytes_ == saved(session_); }

  Way way_;
  TempFolder folder_;
  std::string bytes_;
};

class RestoreScene final : public SessionScene {
 public:
  RestoreScene(const Stage* stage, dsv4_session* from, const std::string* bytes, Way way)
      : SessionScene(*stage, from), bytes_(*bytes), way_(way) {
    if (way == Way::kPath) folder_.write(bytes_);
  }
  dsv4_status call(dsv4_error** error) override {
    if (way_ == Way::kPath) return dsv4_session_restore_path(session_, folder_.file().c_str(), error);
    Cursor cursor{&bytes_};
    return dsv4_session_restore(session_, read_bytes, &cursor, error);
  }

 private:
  const std::string& bytes_;
  Way way_;
  TempFolder folder_;
};

}  // namespace

Injector callback_injector(CallbackFault fault) {
  Injector injector;
  injector.begin = [fault](int64_t nth) { callbacks = {true, false, fault, nth, 0}; };
  injector.end = [] {
    callbacks.armed = false;
    return callbacks.fired;
  };
  injector.calls = [] { return callbacks.seen; };
  return injector;
}

MakeScene save_scene(const Stage& stage, dsv4_session* from, Way way) { return maker<SaveScene>(&stage, from, way); }

MakeScene restore_scene(const Stage& stage, dsv4_session* from, dsv4_session* of, Way way) {
  const auto bytes = std::make_shared<const std::string>(saved(of));
  return [&stage, from, bytes, way] { return std::make_unique<RestoreScene>(&stage, from, bytes.get(), way); };
}

}  // namespace dsv4::test
