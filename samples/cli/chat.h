// A conversation with one model: what can be done with it, one function each. chat_prompt.h is the person's side.
//
// The session holds the conversation, with the exact tokens of its answers. What the C interface has no call for
// (taking a turn back, another system prompt) is done on the conversation's JSON and set again: the session then keeps
// whatever beginning is unchanged.
#pragma once

#include <dsv4.h>

#include <optional>
#include <string>
#include <vector>

#include "client.h"
#include "request.h"
#include "turn_flags.h"

namespace cli {

// A tool call whose result has not been given yet.
struct OpenCall {
  size_t number = 0;  // in its turn, from 1
  std::string id;
  std::string name;
  std::string arguments;
};

class Chat {
 public:
  // `context` as in dsv4_session_options.
  Chat(dsv4_model* model, const dsv4_conversation* beginning, uint64_t context, const TurnFlags& turn);
  Chat(const Chat&) = delete;
  Chat& operator=(const Chat&) = delete;

  // Both print the answer. Where the library fails, the conversation is again as it was before, and Failure is thrown.
  void send(const std::string& text);
  // The result of an open call, by id or number; when all results are there the model goes on. False: still open ones.
  bool give_result(const std::string& call, const std::string& text);
  std::vector<OpenCall> open_calls() const;

  void save(const std::string& path) const;
  void load(const std::string& path);        // replaces everything
  void set_system(const std::string& text);  // "": none
  void set_tools(const std::string& path);
  std::vector<std::string> tool_names() const;
  bool undo();   // the last user message and all that followed; false: there is none
  void clear();  // all messages but the system's; tools and the like stay
  size_t message_count() const;

  std::string prompt() const;  // what the model would read now
  dsv4_session_info session_info() const;
  const std::optional<dsv4_generate_stats>& last_turn() const { return last_; }

  const dsv4_model_info& info() const { return info_; }
  TurnFlags& turn() { return turn_; }

 private:
  Conversation conversation() const;
  Json request() const { return to_json(conversation().get()); }
  void set(const dsv4_conversation* conversation);
  void set(const Json& request) { set(from_json(request).get()); }
  template <class Append>
  void append_and_answer(Append&& append);

  dsv4_model* const model_;
  const dsv4_model_info info_;
  TurnFlags turn_;
  Session session_;
  std::optional<dsv4_generate_stats> last_;
};

}  // namespace cli
