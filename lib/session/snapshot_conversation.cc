#include "lib/session/snapshot_conversation.h"

#include <algorithm>

#include "lib/base/error.h"
#include "lib/session/snapshot_fields.h"

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
      : in_(bytes, name, "the conversation"), vocab_(vocab) {}

  Conversation run() {
    const std::string json = in_.string();
    Conversation c;
    try {
      c = Conversation::from_json(json);
    } catch (const Error& e) {
      fail(Status::kCorrupt, "{}: {}", in_.place(), e.what());
    }
    const size_t messages = in_.count(4);
    if (messages != c.messages.size()) {
      fail(Status::kCorrupt, "{}: ids of {} messages, {} expected", in_.place(), messages, c.messages.size());
    }
    for (Message& m : c.messages) read_message(m);
    in_.end();
    return c;
  }

 private:
  void read_message(Message& m) {
    const uint32_t flags = in_.u32();
    const bool ids = (flags & kHasIds) != 0, reasoning = (flags & kHasReasoning) != 0;
    if (flags > (kHasIds | kHasReasoning) || (reasoning && !ids) || (ids && m.role != Role::kAssistant)) {
      fail(Status::kCorrupt, "{}: flags {:#x} of a message of role {}", in_.place(), flags, role_name(m.role));
    }
    if (!ids) return;
    m.ids.emplace();
    if (reasoning) m.ids->reasoning = in_.ids(vocab_);
    m.ids->answer = in_.ids(vocab_);
  }

  FieldReader in_;
  int64_t vocab_;
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
  if (out.size() > kMostPlainBytes) {
    fail(Status::kUnsupported, "the conversation cannot be saved: {} bytes, at most {} expected", out.size(),
         kMostPlainBytes);
  }
  return out;
}

Conversation decode_conversation(std::span<const uint8_t> bytes, int64_t vocab, const std::string& name) {
  return ConversationReader(bytes, vocab, name).run();
}

}  // namespace dsv4::snapshot
