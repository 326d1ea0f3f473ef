#include "lib/session/snapshot_conversation.h"

#include <algorithm>

#include "lib/base/error.h"
#include "lib/session/snapshot_format.h"

namespace dsv4::snapshot {
namespace {

enum IdFlags : uint32_t { kHasIds = 1, kHasReasoning = 2 };

void put_ids(Encoder& e, const std::vector<int32_t>& ids) {
  e.u64(ids.size());
  for (const int32_t id : ids) e.u32(static_cast<uint32_t>(id));
}

class ConversationReader {
 public:
  ConversationReader(std::span<const uint8_t> bytes, int64_t vocab, const std::string& name)
      : in_(bytes), vocab_(vocab), name_(name) {}

  Conversation run() {
    const size_t length = size(1);
    const auto json = in_.bytes(length);
    Conversation c;
    try {
      c = Conversation::from_json({reinterpret_cast<const char*>(json.data()), json.size()});
    } catch (const Error& e) {
      fail(Status::kCorrupt, "{}: the conversation: {}", name_, e.what());
    }
    const size_t messages = size(4);
    if (messages != c.messages.size()) {
      fail(Status::kCorrupt, "{}: the conversation: ids of {} messages, {} expected", name_, messages,
           c.messages.size());
    }
    for (Message& m : c.messages) read_message(m);
    if (in_.left() != 0) fail(Status::kCorrupt, "{}: the conversation: {} bytes too many", name_, in_.left());
    return c;
  }

 private:
  // A count of things of at least `each` bytes, which must be there.
  size_t size(size_t each) {
    need(8);
    const uint64_t count = in_.u64();
    if (count > in_.left() / each) {
      fail(Status::kCorrupt, "{}: the conversation: a count of {} with {} bytes left", name_, count, in_.left());
    }
    return count;
  }
  void need(size_t bytes) {
    if (in_.left() < bytes) fail(Status::kCorrupt, "{}: the conversation ends too early", name_);
  }
  std::vector<int32_t> read_ids() {
    std::vector<int32_t> ids(size(4));
    for (int32_t& id : ids) {
      const uint32_t v = in_.u32();
      if (v >= static_cast<uint64_t>(vocab_)) {
        fail(Status::kCorrupt, "{}: the conversation: token id {}: 0 to {} expected", name_, v, vocab_ - 1);
      }
      id = static_cast<int32_t>(v);
    }
    return ids;
  }
  void read_message(Message& m) {
    need(4);
    const uint32_t flags = in_.u32();
    const bool ids = (flags & kHasIds) != 0, reasoning = (flags & kHasReasoning) != 0;
    if (flags > (kHasIds | kHasReasoning) || (reasoning && !ids) || (ids && m.role != Role::kAssistant)) {
      fail(Status::kCorrupt, "{}: the conversation: flags {:#x} of a message of role {}", name_, flags,
           role_name(m.role));
    }
    if (!ids) return;
    m.ids.emplace();
    if (reasoning) m.ids->reasoning = read_ids();
    m.ids->answer = read_ids();
  }

  Decoder in_;
  int64_t vocab_;
  const std::string& name_;
};

}  // namespace

std::vector<uint8_t> encode_conversation(const Conversation& conversation) {
  const std::string json = conversation.to_json().dump();
  try {
    Conversation::from_json(json);  // a snapshot that could not be read back would be worse than none
  } catch (const Error& e) {
    fail(Status::kUnsupported, "the conversation cannot be saved: {}", e.what());
  }
  std::vector<uint8_t> out;
  Encoder e(out);
  e.u64(json.size());
  out.insert(out.end(), json.begin(), json.end());
  e.u64(conversation.messages.size());
  for (const Message& m : conversation.messages) {
    const bool reasoning = m.ids.has_value() && m.ids->reasoning.has_value();
    e.u32((m.ids.has_value() ? uint32_t{kHasIds} : 0) | (reasoning ? uint32_t{kHasReasoning} : 0));
    if (!m.ids.has_value()) continue;
    if (reasoning) put_ids(e, *m.ids->reasoning);
    put_ids(e, m.ids->answer);
  }
  if (out.size() > kMostConversationBytes) {
    fail(Status::kUnsupported, "the conversation cannot be saved: {} bytes, at most {} expected", out.size(),
         kMostConversationBytes);
  }
  return out;
}

Conversation decode_conversation(std::span<const uint8_t> bytes, int64_t vocab, const std::string& name) {
  return ConversationReader(bytes, vocab, name).run();
}

}  // namespace dsv4::snapshot
