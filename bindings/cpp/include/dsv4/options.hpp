// Options with named setters, which own their strings and callbacks:
//   dsv4::GenerateOptions().temperature(0).max_tokens(100).stop({"\n\n"})
#pragma once

#include <dsv4.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dsv4/types.hpp>

namespace dsv4 {
namespace detail {

inline std::vector<const char*> pointers_of(const std::vector<std::string>& strings) {
  std::vector<const char*> pointers;
  pointers.reserve(strings.size());
  for (const std::string& string : strings) pointers.push_back(string.c_str());
  return pointers;
}

inline const char* pointer_of(const std::optional<std::string>& string) noexcept {
  return string ? string->c_str() : nullptr;
}

}  // namespace detail

// Called on the thread that opens the model.
using LogFunction = std::function<void(LogLevel level, std::string_view text)>;
// `done` of `total`; false gives up, and the call fails with Status::cancelled.
using ProgressFunction = std::function<bool(std::uint64_t done, std::uint64_t total)>;
// May edit the logits of the next token; false ends the turn as Answer::stop does.
using LogitsFunction = std::function<bool(float* logits, std::size_t vocab)>;

class ModelOptions {
 public:
  ModelOptions& backend(std::string name) { return backend_ = std::move(name), *this; }
  ModelOptions& isa(std::string name) { return isa_ = std::move(name), *this; }
  ModelOptions& threads(std::int32_t count) { return c_.threads = count, *this; }
  ModelOptions& profile(Profile profile) { return c_.profile = static_cast<std::int32_t>(profile), *this; }
  ModelOptions& text_only(bool on = true) { return flag(DSV4_OPEN_TEXT_ONLY, on); }
  ModelOptions& verify(bool on = true) { return flag(DSV4_OPEN_VERIFY, on); }
  ModelOptions& time_verbs(bool on = true) { return flag(DSV4_OPEN_TIME_VERBS, on); }
  ModelOptions& max_step_rows(std::int32_t rows) { return c_.max_step_rows = rows, *this; }
  ModelOptions& host_memory_limit(std::uint64_t bytes) { return c_.host_memory_limit = bytes, *this; }
  ModelOptions& device_memory_limit(std::uint64_t bytes) { return c_.device_memory_limit = bytes, *this; }
  ModelOptions& device(std::int32_t index) { return c_.device = index, *this; }
  ModelOptions& log(LogFunction function) { return log_ = std::move(function), *this; }
  ModelOptions& progress(ProgressFunction function) { return progress_ = std::move(function), *this; }

  // The C struct, without the callbacks. It points into this object.
  dsv4_model_options c() const noexcept {
    dsv4_model_options options = c_;
    options.backend = detail::pointer_of(backend_);
    options.isa = detail::pointer_of(isa_);
    return options;
  }
  const LogFunction& log() const noexcept { return log_; }
  const ProgressFunction& progress() const noexcept { return progress_; }

 private:
  ModelOptions& flag(std::uint32_t bit, bool on) {
    c_.flags = on ? c_.flags | bit : c_.flags & ~bit;
    return *this;
  }

  dsv4_model_options c_ = DSV4_MODEL_OPTIONS_INIT;
  std::optional<std::string> backend_, isa_;
  LogFunction log_;
  ProgressFunction progress_;
};

class SessionOptions {
 public:
  SessionOptions& context(std::uint64_t tokens) { return c_.context = tokens, *this; }
  SessionOptions& draft(bool on = true) { return c_.flags = on ? DSV4_SESSION_DRAFT : 0, *this; }
  SessionOptions& prefill_chunk(std::int32_t tokens) { return c_.prefill_chunk = tokens, *this; }
  SessionOptions& checkpoints(std::int32_t count) { return c_.checkpoints = count, *this; }

  const dsv4_session_options& c() const noexcept { return c_; }

 private:
  dsv4_session_options c_ = DSV4_SESSION_OPTIONS_INIT;
};

class RenderOptions {
 public:
  RenderOptions& reasoning(Reasoning mode) { return c_.reasoning = static_cast<std::int32_t>(mode), *this; }
  RenderOptions& profile(Profile profile) { return c_.profile = static_cast<std::int32_t>(profile), *this; }

  const dsv4_render_options& c() const noexcept { return c_; }

 private:
  dsv4_render_options c_ = DSV4_RENDER_OPTIONS_INIT;
};

class SnapshotOptions {
 public:
  SnapshotOptions& level(std::int32_t level) { return c_.level = level, *this; }
  SnapshotOptions& uncompressed(bool on = true) { return c_.uncompressed = on, *this; }

  const dsv4_snapshot_options& c() const noexcept { return c_; }

 private:
  dsv4_snapshot_options c_ = DSV4_SNAPSHOT_OPTIONS_INIT;
};

class EvalOptions {
 public:
  // `out` becomes [ids, vocab]: row i predicts what follows ids[i]. It has to live until eval returns.
  EvalOptions& logits(std::vector<float>& out) { return logits_ = &out, *this; }
  // The same of the MTP head; the row of position 0 stays zero.
  EvalOptions& draft_logits(std::vector<float>& out) { return draft_logits_ = &out, *this; }
  EvalOptions& progress(ProgressFunction function) { return progress_ = std::move(function), *this; }

  std::vector<float>* logits() const noexcept { return logits_; }
  std::vector<float>* draft_logits() const noexcept { return draft_logits_; }
  const ProgressFunction& progress() const noexcept { return progress_; }

 private:
  std::vector<float>* logits_ = nullptr;
  std::vector<float>* draft_logits_ = nullptr;
  ProgressFunction progress_;
};

class GenerateOptions {
 public:
  GenerateOptions& reasoning(Reasoning mode) { return c_.reasoning = static_cast<std::int32_t>(mode), *this; }
  GenerateOptions& reasoning_budget(std::uint64_t tokens) { return c_.reasoning_budget = tokens, *this; }

  GenerateOptions& temperature(double value) { return c_.temperature = value, *this; }  // 0: greedy; else 1
  GenerateOptions& greedy() { return temperature(0); }
  GenerateOptions& top_k(std::int32_t count) { return c_.top_k = count, *this; }
  GenerateOptions& top_p(double value) { return c_.top_p = value, *this; }
  GenerateOptions& min_p(double value) { return c_.min_p = value, *this; }
  GenerateOptions& seed(std::uint64_t value) { return c_.seed = value, *this; }
  GenerateOptions& repetition_penalty(double value) { return c_.repetition_penalty = value, *this; }
  GenerateOptions& presence_penalty(double value) { return c_.presence_penalty = value, *this; }
  GenerateOptions& frequency_penalty(double value) { return c_.frequency_penalty = value, *this; }
  GenerateOptions& penalty_window(std::uint64_t tokens) { return c_.penalty_window = tokens, *this; }
  // One more biased token.
  GenerateOptions& logit_bias(std::int32_t token, float bias) { return bias_.push_back({token, bias}), *this; }
  GenerateOptions& logits(LogitsFunction function) { return logits_ = std::move(function), *this; }

  GenerateOptions& max_tokens(std::uint64_t count) { return c_.max_tokens = count, *this; }
  GenerateOptions& stop(std::vector<std::string> strings) { return stop_ = std::move(strings), *this; }
  GenerateOptions& token_events(bool on = true) { return c_.token_events = on, *this; }
  // Switches token_events on.
  GenerateOptions& top_logprobs(std::int32_t count) { return c_.top_logprobs = count, token_events(); }

  GenerateOptions& tool_choice(ToolChoice choice) { return choose(choice, std::nullopt); }
  // ToolChoice::named: one call of this tool.
  GenerateOptions& call_tool(std::string name) { return choose(ToolChoice::named, std::move(name)); }
  // What the answer must look like.
  GenerateOptions& json() { return constrain(DSV4_GRAMMAR_JSON, std::nullopt); }
  GenerateOptions& json_schema(std::string text) { return constrain(DSV4_GRAMMAR_JSON_SCHEMA, std::move(text)); }
  GenerateOptions& ebnf(std::string text) { return constrain(DSV4_GRAMMAR_EBNF, std::move(text)); }
  GenerateOptions& regex(std::string text) { return constrain(DSV4_GRAMMAR_REGEX, std::move(text)); }
  GenerateOptions& unconstrained() { return constrain(DSV4_GRAMMAR_NONE, std::nullopt); }
  // Go on with the turn that was interrupted.
  GenerateOptions& resume(bool on = true) { return c_.resume = on, *this; }

  // The C struct, but for stop and the callback. It points into this object.
  dsv4_generate_options c() const noexcept {
    dsv4_generate_options options = c_;
    options.logit_bias = bias_.empty() ? nullptr : bias_.data();
    options.logit_bias_count = bias_.size();
    options.tool_name = detail::pointer_of(tool_name_);
    options.grammar = detail::pointer_of(grammar_);
    return options;
  }
  const std::vector<std::string>& stop() const noexcept { return stop_; }
  const LogitsFunction& logits() const noexcept { return logits_; }

 private:
  GenerateOptions& choose(ToolChoice choice, std::optional<std::string> name) {
    c_.tool_choice = static_cast<std::int32_t>(choice);
    tool_name_ = std::move(name);
    return *this;
  }
  GenerateOptions& constrain(std::int32_t kind, std::optional<std::string> grammar) {
    c_.grammar_kind = kind;
    grammar_ = std::move(grammar);
    return *this;
  }

  dsv4_generate_options c_ = DSV4_GENERATE_OPTIONS_INIT;
  std::vector<std::string> stop_;
  std::vector<dsv4_logit_bias> bias_;
  LogitsFunction logits_;
  std::optional<std::string> tool_name_, grammar_;
};

class ParserOptions {
 public:
  ParserOptions& start(Start where) { return start_ = where, *this; }
  ParserOptions& stop(std::vector<std::string> strings) { return stop_ = std::move(strings), *this; }

  Start start() const noexcept { return start_; }
  const std::vector<std::string>& stop() const noexcept { return stop_; }

 private:
  Start start_ = Start::content;
  std::vector<std::string> stop_;
};

}  // namespace dsv4
