// Any bytes as a snapshot: an error that leaves the session as it was, or a session that can be saved and evaluated.
// The first byte says how far the rest is helped past the first doors: 1 the checksums are made right, 2 model and
// layout are made those of the session, 4 the session goes on from what was restored, an interrupted turn too.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "include/dsv4.h"
#include "tests/support/snapshot_surgery.h"

namespace {

using dsv4::snapshot::Bytes;

enum Help : uint8_t { kChecksums = 1, kModel = 2, kGoOn = 4 };
constexpr uint64_t kContext = 8;

void need(bool ok) {
  if (!ok) __builtin_trap();
}

int32_t collect(void* user, const void* data, size_t size) {
  Bytes& bytes = *static_cast<Bytes*>(user);
  const uint8_t* p = static_cast<const uint8_t*>(data);
  bytes.insert(bytes.end(), p, p + size);
  return 0;
}

struct Feed {
  const Bytes& bytes;
  size_t at = 0;
  static int64_t read(void* user, void* data, size_t size) {
    Feed& f = *static_cast<Feed*>(user);
    const size_t n = std::min(size, f.bytes.size() - f.at);
    if (n != 0) std::memcpy(data, f.bytes.data() + f.at, n);
    f.at += n;
    return static_cast<int64_t>(n);
  }
};

dsv4_session* open_session() {
  static dsv4_model* model = nullptr;
  dsv4_model_options options = DSV4_MODEL_OPTIONS_INIT;
  options.backend = "reference";
  options.max_step_rows = 16;
  need(dsv4_model_open(DSV4_SOURCE_DIR "/samples/models/tiny", &options, &model, nullptr) == DSV4_OK);
  dsv4_session_options so = DSV4_SESSION_OPTIONS_INIT;
  so.context = kContext;
  dsv4_session* session = nullptr;
  need(dsv4_session_create(model, &so, &session, nullptr) == DSV4_OK);
  return session;
}

std::vector<int32_t> tokens_of(dsv4_session* session) {
  std::vector<int32_t> ids(kContext);
  size_t count = 0;
  need(dsv4_session_tokens(session, ids.data(), ids.size(), &count, nullptr) == DSV4_OK);
  need(count <= ids.size());
  ids.resize(count);
  return ids;
}

// Fingerprint, vocabulary, window and what follows up to the layers, as in the session's own header.
void make_ours(Bytes& bytes, const Bytes& own) {
  const size_t table = dsv4::snapshot::kFixedBytes, layers_end = dsv4::snapshot::find_sections(own).front().at - 8;
  const auto copy = [&](size_t from, size_t to) {
    for (size_t i = from; i < std::min(to, bytes.size()); ++i) bytes[i] = own[i];
  };
  copy(0, 24);
  copy(56, 60);
  copy(68, table);
  copy(table, layers_end);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static dsv4_session* const session = open_session();
  static const Bytes own = [] {
    Bytes bytes;
    need(dsv4_session_save(session, collect, &bytes, nullptr, nullptr) == DSV4_OK);
    return bytes;
  }();
  if (size == 0) return 0;
  Bytes bytes(data + 1, data + size);
  if ((data[0] & kModel) != 0) make_ours(bytes, own);
  if ((data[0] & kChecksums) != 0) dsv4::snapshot::fix_checksums(bytes);

  dsv4_snapshot_info info{};
  info.struct_size = sizeof info;
  Feed peeked{bytes};
  const dsv4_status peek = dsv4_snapshot_peek(Feed::read, &peeked, &info, nullptr);
  const std::vector<int32_t> before = tokens_of(session);
  Feed feed{bytes};
  const dsv4_status status = dsv4_session_restore(session, Feed::read, &feed, nullptr);
  if (status != DSV4_OK) {
    need(tokens_of(session) == before);
    return 0;
  }
  need(peek == DSV4_OK && tokens_of(session).size() == info.tokens);
  if ((data[0] & kGoOn) != 0 && info.interrupted != 0) {  // with the options that it brought: an answer or an error
    dsv4_generate_options go_on = DSV4_GENERATE_OPTIONS_INIT;
    go_on.resume = 1;
    const std::vector<int32_t> held = tokens_of(session);
    const dsv4_status resumed = dsv4_session_generate(session, &go_on, nullptr, nullptr, nullptr, nullptr);
    const std::vector<int32_t> now = tokens_of(session);
    need(resumed == DSV4_OK ? now.size() >= held.size() : now == held);
    need(std::equal(held.begin(), held.end(), now.begin()));
  } else if ((data[0] & kGoOn) != 0 && info.tokens < kContext) {
    const int32_t id = 1;
    const bool by_tokens = info.driven != DSV4_DRIVEN_BY_MESSAGES;
    need((dsv4_session_eval(session, &id, by_tokens ? 1 : 0, nullptr, nullptr) == DSV4_OK) == by_tokens);
  }
  Bytes again;
  need(dsv4_session_save(session, collect, &again, nullptr, nullptr) == DSV4_OK);
  Feed back{again};
  need(dsv4_session_restore(session, Feed::read, &back, nullptr) == DSV4_OK);
  return 0;
}
