#include "lib/text/prompt.h"

#include <algorithm>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/utf8.h"
#include "lib/text/prompt_turns.h"
#include "lib/text/protocol_text.h"

namespace dsv4 {
namespace {

// Pieces of a prompt. Ordinary texts that touch become one: token borders must not depend on how the text came about.
class PieceList {
 public:
  void text(std::string_view s) {
    if (s.empty()) return;
    if (list.empty() || list.back().kind != PromptPiece::Kind::kText) list.push_back({});
    list.back().text += s;
  }
  void special(std::string_view token) { list.push_back({PromptPiece::Kind::kSpecial, std::string(token), {}}); }
  // Text of the protocol: the control tokens that it spells are meant.
  void protocol(std::string_view s) {
    while (!s.empty()) {
      size_t first = s.size();
      std::string_view found;
      for (const std::string_view token : protocol::kControlTokens) {
        const size_t at = s.find(token);
        if (at < first) {
          first = at;
          found = token;
        }
      }
      text(s.substr(0, first));
      if (found.empty()) return;
      special(found);
      s.remove_prefix(first + found.size());
    }
  }
  void ids(std::vector<int32_t> values, std::string text) {
    if (!values.empty()) list.push_back({PromptPiece::Kind::kIds, std::move(text), std::move(values)});
  }
  // A protocol text with a caller's text at its mark.
  void filled(std::string_view form, std::string_view mark, std::string_view filling) {
    const size_t at = form.find(mark);
    protocol(form.substr(0, at));
    text(filling);
    protocol(form.substr(at + mark.size()));
  }

  std::vector<PromptPiece> list;
};

// 0731 writes a tool definition with name, description and parameters first and never without a description.
Json tool_schema(const Json& function, Profile profile) {
  if (profile == Profile::kPreview) return function;
  Json out = Json::object();
  out.set("name", *function.find("name"));
  const Json* description = function.find("description");
  out.set("description", description == nullptr || description->is_null() ? Json::string("") : *description);
  for (size_t pass = 0; pass < 2; ++pass) {
    for (size_t i = 0; i < function.size(); ++i) {
      const std::string& key = function.keys()[i];
      if (key == "name" || key == "description" || (key == "parameters") != (pass == 0)) continue;
      out.append(key, function.items()[i]);
    }
  }
  return out;
}

void write_tools(PieceList& out, const std::vector<const Json*>& tools, Profile profile) {
  if (tools.empty()) return;
  std::string schemas;
  for (const Json* tool : tools) {
    if (tool != tools.front()) schemas += "\n";
    tool_schema(*tool, profile).dump(schemas);
  }
  out.text("\n\n");
  out.filled(protocol::kTools, protocol::kToolSchemasMark, schemas);
}

// A request's response_format is OpenAI's; a message's may also be a bare schema.
void write_response_format(PieceList& out, const PromptTurn& turn, Profile profile) {
  if (turn.response_format == nullptr) return;
  const Json& format = *turn.response_format;
  const Json* type_value = format.find("type");
  const std::string_view type =
      type_value != nullptr && type_value->is_string() ? type_value->text() : std::string_view();
  if (type == "text") return;
  const Json* schema = &format;
  if (profile == Profile::k0731) {
    if (type == "json_object") {
      out.text("\n\n");
      out.protocol(protocol::kJsonObject);
      return;
    }
    if (type == "json_schema") {
      const JsonAt at(&format, "response_format", Status::kInvalidArgument);
      schema = &at.at("json_schema").object().at("schema").object().value();
    } else if (turn.request_format) {
      fail(Status::kInvalidArgument, "response_format.type: expected text, json_object or json_schema, found \"{}\"",
           utf8_sanitize(type.substr(0, 60)));
    }
  }
  out.text("\n\n");
  out.filled(protocol::kResponseFormat, protocol::kSchemaMark, schema->dump());
}

void write_parameter(PieceList& out, std::string_view name, const Json& value) {
  out.protocol(protocol::kParameterBegin);
  out.text(name);
  out.protocol(value.is_string() ? protocol::kParameterString : protocol::kParameterJson);
  out.text(value.is_string() ? value.text() : value.dump());
  out.protocol(protocol::kParameterEnd);
}

void write_call(PieceList& out, const ToolCall& call, Profile profile) {
  Json arguments;
  if (!try_parse_json(call.arguments, arguments) || !arguments.is_object()) {
    arguments = Json::object();
    arguments.set("arguments", Json::string(call.arguments));
  }
  out.protocol(protocol::kInvokeBegin);
  out.text(call.name);
  out.protocol(protocol::kInvokeNameEnd);
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (i != 0) out.text("\n");
    write_parameter(out, arguments.keys()[i], arguments.items()[i]);
  }
  if (arguments.size() != 0 || profile == Profile::kPreview) out.text("\n");
  out.protocol(protocol::kInvokeEnd);
}

void write_calls(PieceList& out, const std::vector<ToolCall>& calls, Profile profile) {
  if (calls.empty()) return;
  out.protocol(protocol::kToolCallsBegin);
  for (size_t i = 0; i < calls.size(); ++i) {
    if (i != 0) out.text("\n");
    write_call(out, calls[i], profile);
  }
  out.protocol(protocol::kToolCallsEnd);
}

void write_answer(PieceList& out, const Message& message, Profile profile) {
  out.text(message.content);
  write_calls(out, message.calls, profile);
  out.text(message.malformed);
}

class Renderer {
 public:
  Renderer(const Conversation& conversation, const ToolChoice& choice, Profile profile, ReasoningMode mode)
      : conversation_(conversation),
        choice_(choice),
        profile_(profile),
        mode_(mode),
        turns_(prepare_turns(conversation, choice, profile, mode)) {}

  Prompt run() {
    if (turns_.list.empty()) fail(Status::kInvalidArgument, "messages: expected at least one message");
    check_prefix();
    prompt_.profile = profile_;
    prompt_.mode = mode_;
    out_.special(protocol::kBos);
    if (thinks(mode_)) out_.protocol(effort_text(profile_, mode_));
    for (size_t i = 0; i < turns_.list.size(); ++i) {
      write_turn(i);
      write_transition(i);
    }
    force_tool_call();
    list_demands();
    warn();
    prompt_.starts_in_reasoning = prompt_.awaits_answer && ends_with(protocol::kThink);
    prompt_.pieces = std::move(out_.list);
    return std::move(prompt_);
  }

 private:
  bool ends_with(std::string_view token) const {
    return !out_.list.empty() && out_.list.back().kind == PromptPiece::Kind::kSpecial && out_.list.back().text == token;
  }

  void check_prefix() const {
    for (size_t i = 0; i < conversation_.messages.size(); ++i) {
      const Message& m = conversation_.messages[i];
      if (!m.prefix) continue;
      if (m.role != Role::kAssistant || i + 1 != conversation_.messages.size()) {
        fail(Status::kInvalidArgument, "messages[{}].prefix: only the last message, an assistant's, can be continued",
             i);
      }
      if (!m.calls.empty())
        fail(Status::kInvalidArgument, "messages[{}].prefix: a message with tool calls is complete", i);
      if (!m.task.empty()) fail(Status::kInvalidArgument, "messages[{}].prefix: a message with a task is complete", i);
    }
  }

  void write_turn(size_t i) {
    const PromptTurn& turn = turns_.list[i];
    switch (turn.role) {
      case Role::kUser: out_.special(protocol::kUser); break;
      case Role::kDeveloper: out_.special(protocol::kUser); break;
      case Role::kLatestReminder: out_.special(protocol::kLatestReminder); break;
      case Role::kAssistant: write_assistant(i, *turn.message); return;
      default: break;
    }
    out_.text(turn.text);
    write_tools(out_, turn.tools, profile_);
    write_response_format(out_, turn, profile_);
  }

  void write_assistant(size_t i, const Message& message) {
    const bool after_task = i > 0 && !turns_.list[i - 1].task.empty();
    if (thinks(mode_) && !after_task && turns_.keeps_reasoning(i)) {
      if (message.ids.has_value() && message.ids->reasoning.has_value()) {
        out_.ids(*message.ids->reasoning, message.reasoning);
      } else {
        out_.text(message.reasoning);
      }
      out_.special(protocol::kThinkEnd);
    }
    if (message.ids.has_value()) {
      PieceList answer;
      write_answer(answer, message, profile_);
      std::string text;
      for (const PromptPiece& piece : answer.list) text += piece.text;
      out_.ids(message.ids->answer, std::move(text));
    } else {
      write_answer(out_, message, profile_);
    }
    if (message.prefix) {
      prompt_.awaits_answer = true;
    } else {
      out_.special(protocol::kEos);
    }
  }

  // What stands between a turn and the model's answer to it.
  void write_transition(size_t i) {
    const PromptTurn& turn = turns_.list[i];
    const bool last = i + 1 == turns_.list.size();
    if (!last) {
      const Role next = turns_.list[i + 1].role;
      if (next != Role::kAssistant && next != Role::kLatestReminder) return;
    }
    const bool asks = turn.role == Role::kUser || turn.role == Role::kDeveloper;
    const std::string_view thinking = thinks(mode_) ? protocol::kThink : protocol::kThinkEnd;
    if (!turn.task.empty()) {
      if (turn.task == "action") {
        out_.special(protocol::kAssistant);
        out_.special(thinking);
      }
      for (const protocol::Task& task : protocol::kTasks) {
        if (turn.task == task.name) out_.special(task.token);
      }
    } else if (asks) {
      out_.special(protocol::kAssistant);
      const bool present = !turns_.drops_reasoning || static_cast<ptrdiff_t>(i) >= turns_.last_user;
      out_.special(present ? thinking : protocol::kThinkEnd);
    }
    if (last && (asks || !turn.task.empty())) prompt_.awaits_answer = true;
  }

  void force_tool_call() {
    if (choice_.kind != ToolChoice::Kind::kRequired && choice_.kind != ToolChoice::Kind::kNamed) return;
    bool known = false, any = false;
    for (const PromptTurn& turn : turns_.list) {
      for (const Json* tool : turn.tools) {
        any = true;
        known = known || tool->find("name")->text() == choice_.name;
      }
    }
    if (!any) fail(Status::kInvalidArgument, "tool_choice: a call is required, but there are no tools");
    if (choice_.kind == ToolChoice::Kind::kNamed && !known) {
      fail(Status::kInvalidArgument, "tool_choice.function.name: no tool is named \"{}\"",
           utf8_sanitize(std::string_view(choice_.name).substr(0, 60)));
    }
    if (thinks(mode_)) {
      fail(Status::kInvalidArgument, "tool_choice: a call can be required in reasoning mode none only, not in {}",
           mode_name(mode_));
    }
    if (!prompt_.awaits_answer || !ends_with(protocol::kThinkEnd)) {
      fail(Status::kInvalidArgument, "tool_choice: a call is required, but the last message is not one to answer");
    }
    out_.protocol(protocol::kToolCallsBegin);
    prompt_.starts_in_tool_calls = true;
    if (choice_.kind == ToolChoice::Kind::kNamed) prompt_.forced_tool = choice_.name;
  }

  void list_demands() {
    for (const PromptTurn& turn : turns_.list) {
      for (const Json* tool : turn.tools) prompt_.tools.push_back(*tool);
      if (turn.response_format != nullptr) prompt_.response_format = *turn.response_format;
    }
  }

  // The vendor refuses json_object when nothing says "json": the model then tends to write blanks without end.
  void warn() {
    const auto wants_json = [](const PromptTurn& turn) {
      const Json* type = turn.response_format == nullptr ? nullptr : turn.response_format->find("type");
      return type != nullptr && type->is_string() && type->text() == "json_object";
    };
    const auto& list = turns_.list;
    if (std::none_of(list.begin(), list.end(), wants_json)) return;
    const auto same = [](char a, char b) { return (a | 0x20) == b; };
    constexpr std::string_view word = "json";
    for (const Message& m : conversation_.messages) {
      if (std::search(m.content.begin(), m.content.end(), word.begin(), word.end(), same) != m.content.end()) return;
    }
    prompt_.warnings.push_back("response_format is json_object, but no message mentions JSON");
  }

  const Conversation& conversation_;
  const ToolChoice& choice_;
  const Profile profile_;
  const ReasoningMode mode_;
  const PromptTurns turns_;
  PieceList out_;
  Prompt prompt_;
};

}  // namespace

std::string Prompt::text() const {
  std::string out;
  for (const PromptPiece& piece : pieces) out += piece.text;
  return out;
}

void Prompt::encode(const Tokenizer& tokenizer, std::vector<int32_t>& out) const {
  for (const PromptPiece& piece : pieces) {
    switch (piece.kind) {
      case PromptPiece::Kind::kText: tokenizer.encode(piece.text, false, out); break;
      case PromptPiece::Kind::kIds: out.insert(out.end(), piece.ids.begin(), piece.ids.end()); break;
      case PromptPiece::Kind::kSpecial: {
        const int32_t id = tokenizer.find(piece.text);
        if (id < 0) fail(Status::kUnsupported, "the tokenizer has no token \"{}\", which the prompt needs", piece.text);
        out.push_back(id);
      }
    }
  }
}

Prompt render(const Conversation& conversation, const RenderOptions& options) {
  const ReasoningMode mode =
      options.mode.value_or(conversation.requested_mode(options.profile).value_or(default_mode(options.profile)));
  check_mode(options.profile, mode);
  const ToolChoice& choice = options.tool_choice ? *options.tool_choice : conversation.tool_choice;
  return Renderer(conversation, choice, options.profile, mode).run();
}

}  // namespace dsv4
