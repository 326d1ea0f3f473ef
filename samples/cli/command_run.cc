// dsv4 run: one prompt, one answer; also out of a snapshot and into one.
#include <algorithm>
#include <optional>
#include <string>

#include "answer.h"
#include "client.h"
#include "commands.h"
#include "model_flags.h"
#include "options.h"
#include "request.h"
#include "turn_flags.h"

namespace cli {
namespace {

struct RunFlags {
  ModelFlags model;
  StartFlags start;
  TurnFlags turn;
  std::optional<std::string> prompt;
  std::optional<std::string> restore;
  std::optional<std::string> save;
  std::optional<uint64_t> save_at;
  bool print_ids = false;
};

bool parse(const Arguments& arguments, RunFlags& flags) {
  Options options("run", "MODEL [\"prompt\"] [options]",
                  "Answers one prompt: the answer on standard output, timings on standard error. The prompt is read "
                  "from standard input where it is - or missing. With --messages it follows the conversation of the "
                  "file, and may be missing: the file's last message is then answered. With --restore it follows the "
                  "snapshot's conversation; without a prompt the answer that was interrupted goes on, to the same "
                  "tokens as without the interruption, with the options it was begun with.");
  options.required("MODEL", flags.model.folder);
  options.optional("prompt", flags.prompt);
  add_turn_flags(options, flags.model, flags.start, flags.turn);
  options.text("--restore", "FILE", "begin with the snapshot in FILE (see dsv4 peek)", flags.restore);
  options.text("--save", "FILE", "write a snapshot to FILE after the answer", flags.save);
  options.integer("--save-at", "N", "write it after N tokens of the answer, which then goes on", 1, UINT64_MAX,
                  flags.save_at);
  options.flag("--print-ids", "print the ids of the generated tokens, on one line of standard error", flags.print_ids);
  if (!options.parse(arguments)) return false;
  if (flags.save_at && !flags.save) throw UsageError("--save-at goes with --save FILE");
  if (flags.restore && (flags.start.system || flags.start.messages || flags.start.tools))
    throw UsageError("--restore brings its own conversation: --system, --messages and --tools do not go with it");
  return true;
}

void append_prompt(dsv4_session* session, const std::string& prompt) {
  check([&](dsv4_error** error) {
    return dsv4_session_append_message(session, DSV4_ROLE_USER, prompt.data(), prompt.size(), error);
  });
}

void save(dsv4_session* session, const std::string& path) {
  check([&](dsv4_error** error) { return dsv4_session_save_path(session, path.c_str(), nullptr, error); });
}

bool ends_with_an_answer(dsv4_session* session) {
  dsv4_conversation* conversation = nullptr;
  check([&](dsv4_error** error) { return dsv4_session_conversation(session, &conversation, error); });
  const Conversation owner(conversation);
  const Json request = to_json(conversation);
  return !request["messages"].empty() && request["messages"].back().value("role", "") == "assistant";
}

// A session as the snapshot says. True: its turn was interrupted, and is to go on.
bool restore(const RunFlags& flags, dsv4_session* session) {
  check([&](dsv4_error** error) { return dsv4_session_restore_path(session, flags.restore->c_str(), error); });
  if (flags.prompt) {
    append_prompt(session, *flags.prompt);
    return false;
  }
  dsv4_session_info info{};
  info.struct_size = sizeof info;
  check([&](dsv4_error** error) { return dsv4_session_info_get(session, &info, error); });
  if (info.interrupted == 0 && info.driven == DSV4_DRIVEN_BY_MESSAGES && ends_with_an_answer(session)) {
    throw Failure(DSV4_E_INVALID_ARGUMENT, *flags.restore + " holds a finished answer: give a prompt to go on from it");
  }
  return info.interrupted != 0;
}

// As large as the one that was saved, or the rest of its answer might not fit.
uint64_t context_of(const RunFlags& flags, const dsv4_model* model) {
  if (!flags.restore || flags.start.context != 0) return flags.start.context;
  dsv4_snapshot_info info{};
  info.struct_size = sizeof info;
  check([&](dsv4_error** error) { return dsv4_snapshot_peek_path(flags.restore->c_str(), &info, error); });
  return std::min(info.context, model_info(model).max_context);
}

Conversation read_input(RunFlags& flags) {
  const bool needs_prompt = !flags.start.messages && !flags.restore;
  if (flags.prompt ? *flags.prompt == "-" : needs_prompt) flags.prompt = read_standard_input();
  if (flags.restore) return nullptr;
  Conversation conversation = start_conversation(flags.start);
  if (flags.prompt) {
    check([&](dsv4_error** error) {
      return dsv4_conversation_add(conversation.get(), DSV4_ROLE_USER, flags.prompt->data(), flags.prompt->size(),
                                   error);
    });
  }
  return conversation;
}

}  // namespace

void command_run(const Arguments& arguments) {
  RunFlags flags;
  if (!parse(arguments, flags)) return;
  // The input first: what is wrong with it should not have to wait for a large checkpoint.
  const Conversation conversation = read_input(flags);

  const Model model = open_model(flags.model);
  dsv4_session_options session_options = DSV4_SESSION_OPTIONS_INIT;
  session_options.context = context_of(flags, model.get());
  const Session session = create_session(model.get(), session_options);
  AnswerPlan plan;
  plan.print_ids = flags.print_ids;
  plan.pause_at = flags.save_at.value_or(0);
  bool saved = false;
  plan.paused = [&] {
    save(session.get(), *flags.save);
    saved = true;
  };
  if (flags.restore) {
    plan.resume = restore(flags, session.get());
  } else {
    check([&](dsv4_error** error) { return dsv4_session_set_conversation(session.get(), conversation.get(), error); });
  }
  const dsv4_generate_stats stats = answer(model.get(), session.get(), flags.turn, plan);
  if (flags.save && !saved) save(session.get(), *flags.save);
  if (stats.reason == DSV4_DONE_CANCELLED) throw Failure(DSV4_E_CANCELLED, "interrupted");
}

}  // namespace cli
