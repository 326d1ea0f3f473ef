// Model: an open checkpoint, its tokenizer and its prompt rules. Copies share it; any thread may use it.
#pragma once

#include <dsv4.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dsv4/conversation.hpp>
#include <dsv4/options.hpp>
#include <dsv4/result.hpp>
#include <dsv4/types.hpp>

namespace dsv4 {

class Session;

class Model {
 public:
  static Result<Model> open(const std::string& folder, const ModelOptions& options = {}) {
    return opened(options, [&](const auto* c, auto** model, auto** error) {
      return dsv4_model_open(folder.c_str(), c, model, error);
    });
  }
  // Random weights in a published shape ("flash", "pro"), without a tokenizer. `layers` 0: all.
  static Result<Model> open_synthetic(const std::string& shape, std::int32_t layers, std::uint64_t seed,
                                      const ModelOptions& options = {}) {
    return opened(options, [&](const auto* c, auto** model, auto** error) {
      return dsv4_model_open_synthetic(shape.c_str(), layers, seed, c, model, error);
    });
  }
  // Takes over a C handle (dsv4_model_retain it first to keep yours).
  static Model adopt(dsv4_model* model) { return Model(std::make_shared<Shared>(model)); }
  // Another owner of a C handle, which stays yours.
  static Model share(dsv4_model* model) { return adopt(dsv4_model_retain(model)); }

  // What opening this checkpoint and one session would take. `context` 0: the model's limit.
  static Result<Estimate> estimate(const std::string& folder, std::uint64_t context = 0,
                                   const ModelOptions& options = {}) {
    const dsv4_model_options c = options.c();
    return detail::filled<Estimate>([&](auto* estimate, auto** error) {
      return dsv4_model_estimate(folder.c_str(), &c, context, estimate, error);
    });
  }

  // Its strings live as long as the model.
  Result<ModelInfo> info() const {
    return detail::filled<ModelInfo>(
        [&](auto* info, auto** error) { return dsv4_model_info_get(handle(), info, error); });
  }
  Result<LayerInfo> layer_info(std::int64_t index, std::uint64_t context = 0) const {
    return detail::filled<LayerInfo>(
        [&](auto* info, auto** error) { return dsv4_model_layer_info(handle(), index, context, info, error); });
  }
  // With ModelOptions::time_verbs: every verb so far, in the order of its first call.
  Result<std::vector<VerbTime>> verb_times() const {
    std::vector<VerbTime> times;
    for (;;) {
      auto time = detail::filled<VerbTime>(
          [&](auto* out, auto** error) { return dsv4_model_verb_time(handle(), times.size(), out, error); });
      if (time) {
        times.push_back(*time);
      } else if (time.error().status() == Status::not_found) {
        return times;
      } else {
        return time.error();
      }
    }
  }
  Result<void> clear_verb_times() const {
    return detail::checked([&](auto** error) { return dsv4_model_verb_times_clear(handle(), error); });
  }
  // Multiply-adds a second.
  Result<double> matrix_peak() const {
    return detail::filled<double>(
        [&](auto* peak, auto** error) { return dsv4_model_matrix_peak(handle(), peak, error); });
  }
  // Bytes a second that the device copies in its own memory; unsupported where that is the host's.
  Result<double> copy_peak() const {
    return detail::filled<double>(
        [&](auto* peak, auto** error) { return dsv4_model_copy_peak(handle(), peak, error); });
  }

  // Text never becomes a control token; tokenize_special lets it, and is not for a stranger's text.
  Result<Tokens> tokenize(std::string_view text) const { return tokenize(text, 0); }
  Result<Tokens> tokenize_special(std::string_view text) const { return tokenize(text, DSV4_TEXT_SPECIAL); }
  // Bytes: a token can end inside a UTF-8 character. Control tokens are left out; detokenize_special writes them.
  Result<std::string> detokenize(TokenSpan ids) const { return detokenize(ids, 0); }
  Result<std::string> detokenize_special(TokenSpan ids) const { return detokenize(ids, DSV4_TEXT_SPECIAL); }

  // The prompt of a conversation, as text and as ids.
  Result<std::string> render(const Conversation& conversation, const RenderOptions& options = {}) const {
    return detail::collected<std::string>([&](char* text, std::size_t capacity, std::size_t* length, auto** error) {
      return dsv4_render(handle(), conversation.handle(), &options.c(), text, capacity, length, error);
    });
  }
  Result<Tokens> render_tokens(const Conversation& conversation, const RenderOptions& options = {}) const {
    return detail::collected<Tokens>([&](auto* ids, std::size_t capacity, std::size_t* count, auto** error) {
      return dsv4_render_tokens(handle(), conversation.handle(), &options.c(), ids, capacity, count, error);
    });
  }

  Result<Session> new_session(const SessionOptions& options = {}) const;  // session.hpp

  dsv4_model* handle() const noexcept { return shared_->model; }

 private:
  // The handle, and what its callbacks need for as long as it lives.
  struct Shared {
    Shared() = default;
    explicit Shared(dsv4_model* adopted) noexcept : model(adopted) {}
    Shared(const Shared&) = delete;
    Shared& operator=(const Shared&) = delete;
    ~Shared() { dsv4_model_release(&model); }

    static void on_log(void* user, std::int32_t level, const char* text) noexcept {
      auto& self = *static_cast<Shared*>(user);
      self.caught.run(0, [&] { return self.log(static_cast<LogLevel>(level), text), 0; });
    }
    static std::int32_t on_progress(void* user, std::uint64_t done, std::uint64_t total) noexcept {
      auto& self = *static_cast<Shared*>(user);
      return self.caught.run(std::int32_t{1}, [&]() -> std::int32_t { return self.progress(done, total) ? 0 : 1; });
    }

    dsv4_model* model = nullptr;
    LogFunction log;
    ProgressFunction progress;
    detail::Caught caught;
  };

  explicit Model(std::shared_ptr<Shared> shared) noexcept : shared_(std::move(shared)) {}

  template <class F>
  static Result<Model> opened(const ModelOptions& options, F&& open) {
    auto shared = std::make_shared<Shared>();
    dsv4_model_options c = options.c();
    if (options.log()) {
      shared->log = options.log();
      c.log = Shared::on_log;
      c.log_user = shared.get();
    }
    if (options.progress()) {
      shared->progress = options.progress();
      c.progress = Shared::on_progress;
      c.progress_user = shared.get();
    }
    auto done = detail::checked([&](auto** error) { return open(&c, &shared->model, error); });
    shared->caught.rethrow();
    if (!done) return done.error();
    return Model(std::move(shared));
  }

  Result<Tokens> tokenize(std::string_view text, std::uint32_t flags) const {
    return detail::collected<Tokens>([&](auto* ids, std::size_t capacity, std::size_t* count, auto** error) {
      return dsv4_tokenize(handle(), text.data(), text.size(), flags, ids, capacity, count, error);
    });
  }
  Result<std::string> detokenize(TokenSpan ids, std::uint32_t flags) const {
    return detail::collected<std::string>([&](char* text, std::size_t capacity, std::size_t* length, auto** error) {
      return dsv4_detokenize(handle(), ids.data(), ids.size(), flags, text, capacity, length, error);
    });
  }

  std::shared_ptr<Shared> shared_;
};

}  // namespace dsv4
