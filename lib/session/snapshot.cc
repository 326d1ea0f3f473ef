#include "lib/session/snapshot.h"

#include <algorithm>
#include <memory>
#include <string_view>
#include <utility>

#include "lib/base/error.h"
#include "lib/session/snapshot_conversation.h"
#include "lib/session/snapshot_state.h"
#include "lib/session/snapshot_turn.h"

namespace dsv4 {
namespace {

using namespace snapshot;

SnapshotHeader header_of(const Session& session) {
  const Timeline& t = session.timeline();
  const Engine& engine = session.engine();
  SnapshotHeader h;
  h.fingerprint = engine.model->checkpoint().fingerprint();
  h.tokens = static_cast<uint64_t>(t.size());
  h.evaluated = static_cast<uint64_t>(t.evaluated());
  h.context = static_cast<uint64_t>(t.context());
  h.state_bytes = total_bytes(state_parts(t.shape(), t.evaluated(), StateExtent::kAll));
  h.vocab = static_cast<uint32_t>(engine.model->config().vocab);
  h.profile = engine.profile;
  h.drive = session.drive();
  h.open_turn = session.open_turn().has_value();
  h.window = static_cast<uint32_t>(t.shape().window);
  h.carry = static_cast<uint32_t>(t.shape().carry);
  h.layers = t.shape().layers;
  return h;
}

void write_small(SectionWriter& writer, SectionType type, std::vector<uint8_t> content,
                 const SnapshotOptions& options) {
  Section section;
  section.raw = std::move(content);
  Packer().pack(section, options);
  writer.write(type, section);
}

void pack_plain(Section& section, std::vector<uint8_t> content) {
  section.raw = std::move(content);
  SnapshotOptions plain;
  plain.compress = false;
  Packer().pack(section, plain);
}

// The place where the last answer began, which the next turn may have to go back to: a copy of rows that are not in the
// state any more.
void write_mark(SectionWriter& writer, const Timeline& timeline) {
  const std::vector<uint8_t>* rows = timeline.marked_rows();
  if (rows == nullptr || timeline.marked() > timeline.evaluated()) return;
  Section section;
  std::vector<uint8_t> content;
  Encoder(content).u64(static_cast<uint64_t>(timeline.marked()));
  content.insert(content.end(), rows->begin(), rows->end());
  pack_plain(section, std::move(content));
  writer.write(SectionType::kMark, section, 0);
}

template <class T>
std::vector<uint8_t> bytes_of(std::span<const T> values) {
  const uint8_t* p = reinterpret_cast<const uint8_t*>(values.data());
  return {p, p + values.size_bytes()};
}

bool same(const LayerShape& a, const LayerShape& b) {
  return a.ratio == b.ratio && a.head_dim == b.head_dim && a.rope_dim == b.rope_dim && a.index_dim == b.index_dim;
}

void check_layout(const SnapshotHeader& h, const SnapshotHeader& own, const std::string& name) {
  if ((h.carry != 0) != (own.carry != 0)) {
    fail(Status::kIncompatible, "{}: a session {} the draft head, this one is {} (DSV4_SESSION_DRAFT)", name,
         h.carry != 0 ? "with" : "without", own.carry != 0 ? "with" : "without");
  }
  if (h.layers.size() != own.layers.size() || h.window != own.window || h.carry != own.carry) {
    fail(Status::kIncompatible, "{}: {} layers, a window of {} and {} carried values expected, {}, {} and {} found",
         name, own.layers.size(), own.window, own.carry, h.layers.size(), h.window, h.carry);
  }
  for (size_t i = 0; i < h.layers.size(); ++i) {
    const LayerShape &a = own.layers[i], &b = h.layers[i];
    if (same(a, b)) continue;
    fail(Status::kIncompatible,
         "{}: layer {}: ratio {}, head_dim {}, rope_dim {}, index_dim {} expected, {}, {}, {}, {} found", name, i,
         a.ratio, a.head_dim, a.rope_dim, a.index_dim, b.ratio, b.head_dim, b.rope_dim, b.index_dim);
  }
}

// Whether a snapshot belongs to this session at all, before anything is made for it.
void check_fits(const SnapshotHeader& h, const SnapshotHeader& own, const std::string& name) {
  if (h.fingerprint != own.fingerprint) {
    fail(Status::kIncompatible, "{}: of another model: fingerprint {:016x} expected, {:016x} found", name,
         own.fingerprint, h.fingerprint);
  }
  if (h.vocab != own.vocab) {
    fail(Status::kIncompatible, "{}: a vocabulary of {} expected, {} found", name, own.vocab, h.vocab);
  }
  check_layout(h, own, name);
  if (h.tokens > own.context) {
    fail(Status::kContextFull, "{}: {} tokens do not fit the session's context of {}", name, h.tokens, own.context);
  }
}

// One restore: everything is gathered here, and becomes the session's at the end.
class Reader {
 public:
  Reader(Session& session, const ByteSource& source, const SnapshotHeader& header, std::span<const uint8_t> bytes)
      : session_(session), source_(source), header_(header), fresh_(session.timeline().make_empty()) {
    headers_.add(bytes.data(), bytes.size());
    std::vector<StateChunk> chunks = state_chunks(fresh_->shape(), static_cast<int64_t>(header.evaluated));
    size_t total = 0;
    for (const StateChunk& chunk : chunks) total += total_bytes(chunk);
    if (header.state_bytes != total) {
      fail(Status::kCorrupt, "{}: a state of {} bytes expected, {} found", source.name, total, header.state_bytes);
    }
    state_ = std::make_unique<StateReader>(
        source, std::move(chunks),
        [this](std::span<const StatePart> parts, const uint8_t* in) { fresh_->import_state(parts, in); });
  }

  void run() {
    for (;;) {
      SectionBytes bytes;
      SectionHeader section;
      read_exactly(source_, bytes.data(), bytes.size(), "the header of a section");
      if (!decode(bytes, section)) fail(Status::kCorrupt, "{}: the header of a section is damaged", source_.name);
      if (section.is(SectionType::kEnd)) {
        check_end(section);
        break;
      }
      headers_.add(bytes.data(), bytes.size());
      ++count_;
      take(section);
    }
    finish();
  }

 private:
  void take(const SectionHeader& section) {
    switch (static_cast<SectionType>(section.type)) {
      case SectionType::kTokens: return take_tokens(section);
      case SectionType::kState: return state_->take(section);
      case SectionType::kLogits: return take_logits(section);
      case SectionType::kConversation: return take_conversation(section);
      case SectionType::kMark: return take_mark(section);
      case SectionType::kTurn: return take_turn(section);
      default: break;
    }
    if ((section.flags & kCritical) != 0) {
      fail(Status::kUnsupported, "{}: a section of type {}, which this library does not know", source_.name,
           section.type);
    }
    if (++unknown_ > kMostUnknownSections) fail(Status::kCorrupt, "{}: too many sections", source_.name);
    skip(section);
  }

  void once(bool& seen, const char* what) {
    if (seen) fail(Status::kCorrupt, "{}: {} twice", source_.name, what);
    seen = true;
  }
  [[noreturn]] void damaged(const char* what, const char* why) {
    fail(Status::kCorrupt, "{}: {}: damaged: {}", source_.name, what, why);
  }

  // A section of known length, as values.
  template <class T>
  void read_values(const SectionHeader& header, size_t count, const char* what, std::vector<T>& out) {
    Section section;
    read_stored(source_, header, count * sizeof(T), what, section);
    const char* wrong = Packer().unpack(section);
    if (wrong != nullptr) damaged(what, wrong);
    out.resize(count);
    std::copy(section.raw.begin(), section.raw.end(), reinterpret_cast<uint8_t*>(out.data()));
  }

  void take_tokens(const SectionHeader& section) {
    once(has_tokens_, "the tokens");
    read_values(section, header_.tokens, "the tokens", tokens_);
    for (size_t i = 0; i < tokens_.size(); ++i) {
      if (tokens_[i] < 0 || tokens_[i] >= static_cast<int64_t>(header_.vocab)) {
        fail(Status::kCorrupt, "{}: token id {} at index {}: 0 to {} expected", source_.name, tokens_[i], i,
             header_.vocab - 1);
      }
    }
  }

  void take_logits(const SectionHeader& section) {
    once(has_logits_, "the logits");
    if (header_.evaluated == 0) fail(Status::kCorrupt, "{}: logits without an evaluated token", source_.name);
    read_values(section, header_.vocab, "the logits", logits_);
  }

  // A section whose length is its own affair: room is made as bytes really come.
  std::vector<uint8_t> read_plain(const SectionHeader& section, const char* what) {
    if (section.raw != section.stored || (section.flags & kCompressed) != 0 || section.raw > kMostPlainBytes) {
      fail(Status::kCorrupt, "{}: {}: {} bytes, stored as {}", source_.name, what, section.raw, section.stored);
    }
    std::vector<uint8_t> bytes;
    while (bytes.size() < section.stored) {
      const size_t have = bytes.size(), more = std::min<uint64_t>(kChunkBytes, section.stored - have);
      bytes.resize(have + more);
      read_exactly(source_, bytes.data() + have, more, what);
    }
    if (checksum(bytes.data(), bytes.size()) != section.checksum) damaged(what, "its checksum does not fit");
    return bytes;
  }

  void take_conversation(const SectionHeader& section) {
    once(has_conversation_, "the conversation");
    conversation_ = decode_conversation(read_plain(section, "the conversation"), header_.vocab, source_.name);
  }

  void take_turn(const SectionHeader& section) {
    if (turn_) fail(Status::kCorrupt, "{}: the interrupted turn twice", source_.name);
    turn_ = decode_turn(read_plain(section, "the interrupted turn"), header_.vocab, source_.name);
  }

  void take_mark(const SectionHeader& section) {
    once(has_mark_, "the mark");
    std::vector<uint8_t> place(8);
    if (section.raw < place.size() || section.stored < place.size() || (section.flags & kCompressed) != 0) {
      fail(Status::kCorrupt, "{}: the mark: {} bytes, stored as {}", source_.name, section.raw, section.stored);
    }
    read_exactly(source_, place.data(), place.size(), "the mark");
    const uint64_t position = Decoder(place).u64();
    if (position == 0 || position > header_.evaluated) {
      fail(Status::kCorrupt, "{}: the mark: position {}: 1 to {} expected", source_.name, position, header_.evaluated);
    }
    const auto parts = state_parts(fresh_->shape(), static_cast<int64_t>(position), StateExtent::kRecent);
    const size_t bytes = total_bytes(parts);
    if (section.raw != section.stored || section.raw - place.size() != bytes) {
      fail(Status::kCorrupt, "{}: the mark: {} bytes, {} expected", source_.name, section.raw, place.size() + bytes);
    }
    std::vector<uint8_t> rows(bytes);
    read_exactly(source_, rows.data(), rows.size(), "the mark");
    Checksum sum;
    sum.add(place.data(), place.size());
    sum.add(rows.data(), rows.size());
    if (sum.value() != section.checksum) damaged("the mark", "its checksum does not fit");
    fresh_->add_mark(static_cast<int64_t>(position), std::move(rows));
  }

  void skip(const SectionHeader& section) {
    Checksum sum;
    std::vector<uint8_t> bytes;
    for (uint64_t left = section.stored; left != 0;) {
      bytes.resize(std::min<uint64_t>(left, kChunkBytes));
      read_exactly(source_, bytes.data(), bytes.size(), "a section");
      sum.add(bytes.data(), bytes.size());
      left -= bytes.size();
    }
    if (sum.value() != section.checksum) damaged("a section", "its checksum does not fit");
  }

  void check_end(const SectionHeader& end) {
    if (end.raw != count_ || end.stored != 0 || end.checksum != headers_.value()) {
      fail(Status::kCorrupt, "{}: the end does not fit: sections are missing, or not of this snapshot", source_.name);
    }
  }

  void finish() {
    uint8_t more = 0;
    if (source_.whole && source_.read(&more, 1) != 0) {
      fail(Status::kCorrupt, "{}: something follows the end of the snapshot", source_.name);
    }
    state_->finish();
    if (!has_tokens_) fail(Status::kCorrupt, "{}: the tokens are missing", source_.name);
    if (has_conversation_ != (header_.drive == Session::Drive::kMessages)) {
      fail(Status::kCorrupt, "{}: a conversation is {}", source_.name,
           has_conversation_ ? "there, and should not be" : "missing");
    }
    if (turn_.has_value() != header_.open_turn) {
      fail(Status::kCorrupt, "{}: an interrupted turn is {}", source_.name,
           turn_ ? "there, and should not be" : "missing");
    }
    if (turn_) check_turn(*turn_, header_.tokens, conversation_, has_conversation_, source_.name);
    fresh_->set_restored(tokens_, static_cast<int64_t>(header_.evaluated), logits_);
    session_.replace(*fresh_, conversation_, header_.drive, turn_);
  }

  Session& session_;
  const ByteSource& source_;
  const SnapshotHeader& header_;
  std::unique_ptr<Timeline> fresh_;
  std::unique_ptr<StateReader> state_;
  Checksum headers_;
  uint64_t count_ = 0, unknown_ = 0;
  bool has_tokens_ = false, has_logits_ = false, has_conversation_ = false, has_mark_ = false;
  std::vector<int32_t> tokens_;
  std::vector<float> logits_;
  Conversation conversation_;
  std::optional<OpenTurn> turn_;
};

}  // namespace

void save_snapshot(const Session& session, const ByteSink& sink, const SnapshotOptions& options) {
  const Timeline& t = session.timeline();
  // What may fail for itself goes first, before a byte is out.
  Section conversation, turn;
  if (session.drive() == Session::Drive::kMessages)
    pack_plain(conversation, encode_conversation(session.conversation()));
  if (session.open_turn()) pack_plain(turn, encode_turn(*session.open_turn()));
  SectionWriter writer(sink, header_of(session));
  write_small(writer, SectionType::kTokens, bytes_of(t.tokens()), options);
  write_state(
      writer, state_chunks(t.shape(), t.evaluated()),
      [&](std::span<const StatePart> parts, uint8_t* out) { t.export_state(parts, out); }, options);
  if (!t.evaluated_logits().empty()) {
    write_small(writer, SectionType::kLogits, bytes_of(t.evaluated_logits()), options);
  }
  if (session.drive() == Session::Drive::kMessages) writer.write(SectionType::kConversation, conversation);
  if (session.open_turn()) writer.write(SectionType::kTurn, turn);
  write_mark(writer, t);
  writer.end();
}

void restore_snapshot(Session& session, const ByteSource& source) {
  std::vector<uint8_t> bytes;
  const SnapshotHeader header = read_header(source, bytes);
  check_fits(header, header_of(session), source.name);
  Reader(session, source, header, bytes).run();
}

SnapshotHeader peek_snapshot(const ByteSource& source) {
  std::vector<uint8_t> bytes;
  return read_header(source, bytes);
}

}  // namespace dsv4
