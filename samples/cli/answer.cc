// See answer.h.
#include "answer.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <memory>
#include <string>

#include "answer_printer.h"
#include "request.h"
#include "terminal.h"

namespace cli {
namespace {

const char* reason_text(int32_t reason) {
  switch (reason) {
    case DSV4_DONE_STOP: return "end of turn";
    case DSV4_DONE_STOP_STRING: return "stop string";
    case DSV4_DONE_LENGTH: return "length limit";
    case DSV4_DONE_HOST: return "stopped";
    case DSV4_DONE_CANCELLED: return "cancelled";
    case DSV4_DONE_TOOL_CALLS: return "tool calls";
    case DSV4_DONE_MALFORMED: return "malformed output";
    case DSV4_DONE_PAUSED: return "paused";
    default: return dsv4_done_name(reason);
  }
}

// "12 tokens (4 reused) in 0.05 s, 160.0 tokens/s": the speed is that of the tokens that were computed.
void print_work(const char* what, uint64_t tokens, uint64_t part, const char* part_name, uint64_t computed,
                double seconds) {
  std::fprintf(stderr, "%s %" PRIu64 " tokens", what, tokens);
  if (part > 0) std::fprintf(stderr, " (%" PRIu64 " %s)", part, part_name);
  if (seconds > 0) std::fprintf(stderr, " in %.2f s, %.1f tokens/s", seconds, static_cast<double>(computed) / seconds);
  std::fputs("; ", stderr);
}

std::string token_text(const dsv4_model* model, int32_t token) {
  return dump(fetch<std::string>([&](char* text, size_t capacity, size_t* length, dsv4_error** error) {
    return dsv4_detokenize(model, &token, 1, DSV4_TEXT_SPECIAL, text, capacity, length, error);
  }));
}

// To twenty characters, of UTF-8.
std::string padded(std::string text) {
  const auto begins = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; };
  const auto characters = static_cast<size_t>(std::count_if(text.begin(), text.end(), begins));
  return text.append(characters < 20 ? 20 - characters : 0, ' ');
}

// "-0.0021  " Paris"    (" London" -6.2, " Rome" -8.4)": a token a line, with what it was drawn from.
void print_tokens(const dsv4_model* model, const std::vector<ListedToken>& tokens) {
  for (const ListedToken& listed : tokens) {
    std::string alternatives;
    for (const dsv4_token_logprob& other : listed.top) {
      char number[32];
      std::snprintf(number, sizeof number, " %.2f", other.logprob);
      alternatives += (alternatives.empty() ? "" : ", ") + token_text(model, other.token) + number;
    }
    std::fprintf(stderr, "%10.4f  %s%s%s\n", listed.logprob, padded(token_text(model, listed.token)).c_str(),
                 listed.forced ? "  forced" : "", alternatives.empty() ? "" : ("  (" + alternatives + ")").c_str());
  }
}

void print_ids(const std::vector<ListedToken>& tokens) {
  std::string line;
  for (const ListedToken& listed : tokens) line += (line.empty() ? "" : " ") + std::to_string(listed.token);
  std::fprintf(stderr, "%s\n", line.c_str());
}

// Until the turn ends or is interrupted. DSV4_OK, or what went wrong: what was heard until then is printed first.
Failure generate(dsv4_session* session, const GenerateOptions& options, AnswerPrinter& printer) {
  const CancelOnInterrupt cancel(session);
  dsv4_error* error = nullptr;
  const dsv4_status status =
      dsv4_session_generate(session, options.get(), AnswerPrinter::on_event, &printer, nullptr, &error);
  const std::unique_ptr<dsv4_error, Release> owner(error);
  return Failure(status, dsv4_error_message(error));
}

}  // namespace

void print_stats(const dsv4_generate_stats& stats, bool greedy) {
  std::fputc('[', stderr);
  print_work("prompt", stats.prompt_tokens, stats.reused_tokens, "reused", stats.prompt_tokens - stats.reused_tokens,
             stats.prefill_seconds);
  print_work("answer", stats.generated_tokens, stats.reasoning_tokens, "of reasoning", stats.generated_tokens,
             stats.decode_seconds);
  std::fputs(reason_text(stats.reason), stderr);
  if (!greedy) std::fprintf(stderr, "; seed %" PRIu64, stats.seed);
  std::fputs("]\n", stderr);
}

dsv4_generate_stats answer(const dsv4_model* model, dsv4_session* session, const TurnFlags& flags,
                           const AnswerPlan& plan) {
  GenerateOptions options(flags);
  if (plan.resume) options.resume();
  if (plan.print_ids || plan.pause_at != 0) options.want_tokens();
  AnswerPrinter printer(flags, plan.pause_at);
  Failure failure = generate(session, options, printer);
  if (failure.status() == DSV4_OK && printer.stats().reason == DSV4_DONE_PAUSED) {
    plan.paused();
    options.resume();
    failure = generate(session, options, printer);
  }
  printer.finish();
  if (failure.status() != DSV4_OK && failure.status() != DSV4_E_CANCELLED) throw failure;
  if (flags.logprobs) print_tokens(model, printer.tokens());
  if (plan.print_ids) print_ids(printer.tokens());
  print_stats(printer.stats(), flags.temperature == 0);
  return printer.stats();
}

}  // namespace cli
