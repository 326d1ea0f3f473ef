#include "lib/text/prompt_turns.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "lib/text/protocol_text.h"

namespace dsv4 {
namespace {

bool is_request(Role role) { return role == Role::kUser || role == Role::kDeveloper; }

// One message's part of a user turn.
struct Block {
  const Message* message;
  bool is_result() const { return message->role == Role::kTool; }
  void write(std::string& out) const {
    if (!is_result()) {
      out += message->content;
      return;
    }
    out += protocol::kToolResultBegin;
    out += message->content;
    out += protocol::kToolResultEnd;
  }
};

// Results change places among themselves only; text between them stays where it is. A result whose call is not known
// counts as one of the first.
void order_results(std::vector<Block>& blocks, const std::vector<ToolCall>& calls) {
  std::unordered_map<std::string_view, size_t> order;
  for (size_t i = 0; i < calls.size(); ++i) {
    if (!calls[i].id.empty()) order[calls[i].id] = i;
  }
  const auto place = [&](const Block& b) {
    const auto it = order.find(b.message->tool_call_id);
    return it == order.end() ? size_t{0} : it->second;
  };
  std::vector<Block> results;
  std::copy_if(blocks.begin(), blocks.end(), std::back_inserter(results), [](const Block& b) { return b.is_result(); });
  std::stable_sort(results.begin(), results.end(), [&](const Block& a, const Block& b) { return place(a) < place(b); });
  size_t next = 0;
  for (Block& b : blocks) {
    if (b.is_result()) b = results[next++];
  }
}

class Merger {
 public:
  explicit Merger(bool with_tools) : with_tools_(with_tools) {}

  std::vector<PromptTurn> run(const std::vector<Message>& messages) {
    for (const Message& m : messages) {
      if (m.role == Role::kUser || m.role == Role::kTool) {
        if (!blocks_.empty() && !task_.empty()) flush();
        blocks_.push_back({&m});
        if (!m.task.empty()) task_ = m.task;
      } else {
        flush();
        add(m);
      }
    }
    flush();
    return std::move(out_);
  }

 private:
  void add(const Message& m) {
    PromptTurn turn;
    turn.role = m.role;
    turn.text = m.content;
    turn.message = &m;
    turn.task = m.task;
    if (with_tools_) {
      for (const Json& tool : m.tools) turn.tools.push_back(&tool);
    }
    if (m.response_format.has_value()) turn.response_format = &*m.response_format;
    if (m.role == Role::kAssistant && !m.calls.empty()) calls_ = &m.calls;
    out_.push_back(std::move(turn));
  }
  void flush() {
    if (blocks_.empty()) return;
    if (calls_ != nullptr) order_results(blocks_, *calls_);
    PromptTurn turn;
    turn.role = Role::kUser;
    turn.message = blocks_.front().message;
    for (const Block& b : blocks_) {
      if (&b != &blocks_.front()) turn.text += "\n\n";
      b.write(turn.text);
    }
    turn.task = std::move(task_);
    task_.clear();
    blocks_.clear();
    out_.push_back(std::move(turn));
  }

  bool with_tools_;
  std::vector<PromptTurn> out_;
  std::vector<Block> blocks_;
  std::string task_;
  const std::vector<ToolCall>* calls_ = nullptr;  // of the latest assistant message that has some
};

// The turn that carries what belongs to the whole request: the system message, or its place at the front.
PromptTurn& request_turn(std::vector<PromptTurn>& turns, Profile profile) {
  const Role first = turns.front().role;
  if (first == Role::kSystem || (first == Role::kDeveloper && profile == Profile::kPreview)) return turns.front();
  if (profile == Profile::k0731) {
    for (PromptTurn& turn : turns) {
      if (turn.role == Role::kSystem) return turn;
    }
  }
  PromptTurn place;
  place.role = Role::kSystem;
  return *turns.insert(turns.begin(), std::move(place));
}

ptrdiff_t find_last_user(const std::vector<PromptTurn>& turns) {
  ptrdiff_t last = static_cast<ptrdiff_t>(turns.size()) - 1;
  while (last >= 0 && !is_request(turns[static_cast<size_t>(last)].role)) --last;
  return last;
}

}  // namespace

PromptTurns prepare_turns(const Conversation& conversation, const ToolChoice& choice, Profile profile,
                          ReasoningMode mode) {
  PromptTurns out;
  const bool with_tools = choice.kind != ToolChoice::Kind::kNone;
  std::vector<PromptTurn>& turns = out.list;
  turns = Merger(with_tools).run(conversation.messages);
  if (turns.empty()) return out;

  if (conversation.response_format.has_value() || (with_tools && !conversation.tools.empty())) {
    PromptTurn& turn = request_turn(turns, profile);
    if (with_tools) {
      for (const Json& tool : conversation.tools) turn.tools.push_back(&tool);
    }
    if (conversation.response_format.has_value()) {
      turn.response_format = &*conversation.response_format;
      turn.request_format = true;
    }
  }

  const bool any_tools = std::any_of(turns.begin(), turns.end(), [](const PromptTurn& t) { return !t.tools.empty(); });
  out.drops_reasoning = thinks(mode) && !any_tools;
  out.last_user = find_last_user(turns);
  if (out.drops_reasoning && out.last_user > 0) {
    const auto last = turns.begin() + out.last_user;
    turns.erase(std::remove_if(turns.begin(), last, [](const PromptTurn& t) { return t.role == Role::kDeveloper; }),
                last);
    out.last_user = find_last_user(turns);
  }
  return out;
}

}  // namespace dsv4
