// What the opaque handles of the header are, and the values of its enums as the library's own.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "include/dsv4.h"
#include "lib/backend/verb_times.h"
#include "lib/session/engine.h"
#include "lib/session/session.h"
#include "lib/text/prompt.h"

struct dsv4_model {
  std::atomic<int> references{1};
  std::shared_ptr<dsv4::Engine> engine;  // sessions hold it too: it outlives the handle while one lives
  dsv4::VerbTimes* verbs = nullptr;      // the model's backend, if it measures
  std::string backend;                   // texts of dsv4_model_info
  std::string notes;
};

struct dsv4_conversation {
  dsv4::Conversation conversation;
};

struct dsv4_session {
  dsv4_session(std::shared_ptr<dsv4::Engine> e, const dsv4::SessionOptions& options) : session(std::move(e), options) {}
  explicit dsv4_session(const dsv4::Session& other) : session(other) {}
  dsv4::Session session;
};

namespace dsv4::api {

// Checked: Error kInvalidArgument for a value that the header does not have.
Role role_of(int32_t role);
std::optional<ReasoningMode> reasoning_of(int32_t mode);  // none for DSV4_REASONING_DEFAULT
std::vector<std::string> read_stops(const char* const* stop, size_t count);

}  // namespace dsv4::api
