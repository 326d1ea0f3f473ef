// dsv4.h, section "snapshot".

#include "lib/api/guard.h"
#include "lib/api/handles.h"
#include "lib/base/file_stream.h"
#include "lib/session/snapshot.h"
#include "lib/session/snapshot_format.h"

using namespace dsv4;

namespace {

static_assert(DSV4_DRIVEN_NOT_YET == static_cast<int>(Session::Drive::kNone) &&
              DSV4_DRIVEN_BY_MESSAGES == static_cast<int>(Session::Drive::kMessages) &&
              DSV4_DRIVEN_BY_TOKENS == static_cast<int>(Session::Drive::kTokens));

SnapshotOptions read_snapshot_options(const dsv4_snapshot_options* options) {
  const dsv4_snapshot_options defaults = DSV4_SNAPSHOT_OPTIONS_INIT;
  const dsv4_snapshot_options o = api::read_options(options, defaults, "snapshot options");
  if (o.level < SnapshotOptions::kLowest || o.level > SnapshotOptions::kHighest) {
    fail(Status::kInvalidArgument, "snapshot options: level {}: {} to {} expected", o.level, SnapshotOptions::kLowest,
         SnapshotOptions::kHighest);
  }
  if (o.uncompressed != 0 && o.uncompressed != 1) {
    fail(Status::kInvalidArgument, "snapshot options: uncompressed {}: 0 or 1 expected", o.uncompressed);
  }
  SnapshotOptions own;
  if (o.level != 0) own.level = o.level;
  own.compress = o.uncompressed == 0;
  return own;
}

ByteSource callback_source(dsv4_read_fn read, void* user) {
  if (read == nullptr) fail(Status::kInvalidArgument, "read: must not be NULL");
  return {[read, user](void* data, size_t size) {
            const int64_t count = read(user, data, size);
            if (count < 0) fail(Status::kIo, "snapshot: the read callback gave up with {}", count);
            if (static_cast<uint64_t>(count) > size) {
              fail(Status::kInvalidArgument, "snapshot: the read callback answered {}, asked for at most {}", count,
                   size);
            }
            return static_cast<size_t>(count);
          },
          "snapshot", false};
}

ByteSource file_source(FileReader& file, const char* path) {
  return {[&file](void* data, size_t size) { return file.read(data, size); }, path, true};
}

void write_peeked(const SnapshotHeader& h, dsv4_snapshot_info* info) {
  dsv4_snapshot_info out{};
  out.fingerprint = h.fingerprint;
  out.tokens = h.tokens;
  out.evaluated = h.evaluated;
  out.context = h.context;
  out.state_bytes = h.state_bytes;
  out.vocab = h.vocab;
  out.layers = static_cast<int64_t>(h.layers.size());
  out.format_version = snapshot::kVersion;
  out.profile = static_cast<int32_t>(h.profile);
  out.driven = static_cast<int32_t>(h.drive);
  out.draft = h.carry != 0;
  out.interrupted = h.open_turn ? 1 : 0;
  api::write_info(info, out, "info");
}

}  // namespace

void dsv4_snapshot_options_init(dsv4_snapshot_options* options, size_t struct_size) {
  const dsv4_snapshot_options defaults = DSV4_SNAPSHOT_OPTIONS_INIT;
  api::init_options(options, struct_size, defaults);
}

dsv4_status dsv4_session_save_path(dsv4_session* session, const char* path, const dsv4_snapshot_options* options,
                                   dsv4_error** error) {
  return api::guard(error, [&] {
    const Session::Use use(api::required(session, "session").session);
    api::required(path, "path");
    const SnapshotOptions own = read_snapshot_options(options);
    FileWriter file(path);
    save_snapshot(session->session, [&](const void* data, size_t size) { file.write(data, size); }, own);
    file.commit();
  });
}

dsv4_status dsv4_session_save(dsv4_session* session, dsv4_write_fn write, void* user,
                              const dsv4_snapshot_options* options, dsv4_error** error) {
  return api::guard(error, [&] {
    const Session::Use use(api::required(session, "session").session);
    if (write == nullptr) fail(Status::kInvalidArgument, "write: must not be NULL");
    const auto sink = [&](const void* data, size_t size) {
      const int32_t answer = write(user, data, size);
      if (answer != 0) fail(Status::kIo, "snapshot: the write callback gave up with {}", answer);
    };
    save_snapshot(session->session, sink, read_snapshot_options(options));
  });
}

dsv4_status dsv4_session_restore_path(dsv4_session* session, const char* path, dsv4_error** error) {
  return api::guard(error, [&] {
    const Session::Use use(api::required(session, "session").session);
    FileReader file(&api::required(path, "path"));
    restore_snapshot(session->session, file_source(file, path));
  });
}

dsv4_status dsv4_session_restore(dsv4_session* session, dsv4_read_fn read, void* user, dsv4_error** error) {
  return api::guard(error, [&] {
    const Session::Use use(api::required(session, "session").session);
    restore_snapshot(session->session, callback_source(read, user));
  });
}

dsv4_status dsv4_snapshot_peek_path(const char* path, dsv4_snapshot_info* info, dsv4_error** error) {
  return api::guard(error, [&] {
    FileReader file(&api::required(path, "path"));
    write_peeked(peek_snapshot(file_source(file, path)), info);
  });
}

dsv4_status dsv4_snapshot_peek(dsv4_read_fn read, void* user, dsv4_snapshot_info* info, dsv4_error** error) {
  return api::guard(error, [&] { write_peeked(peek_snapshot(callback_source(read, user)), info); });
}
