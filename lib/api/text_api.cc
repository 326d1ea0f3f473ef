// dsv4.h, section "text".

#include <string>
#include <vector>

#include "lib/api/guard.h"
#include "lib/api/handles.h"
#include "lib/text/detokenizer.h"

using namespace dsv4;

static_assert(DSV4_ROLE_SYSTEM == static_cast<int>(Role::kSystem));
static_assert(DSV4_ROLE_USER == static_cast<int>(Role::kUser));
static_assert(DSV4_ROLE_ASSISTANT == static_cast<int>(Role::kAssistant));
static_assert(DSV4_ROLE_TOOL == static_cast<int>(Role::kTool));
static_assert(DSV4_ROLE_DEVELOPER == static_cast<int>(Role::kDeveloper));
static_assert(DSV4_ROLE_LATEST_REMINDER == static_cast<int>(Role::kLatestReminder));
static_assert(DSV4_PROFILE_PREVIEW == static_cast<int>(Profile::kPreview));
static_assert(DSV4_PROFILE_0731 == static_cast<int>(Profile::k0731));
static_assert(DSV4_REASONING_NONE == static_cast<int>(ReasoningMode::kNone));
static_assert(DSV4_REASONING_LOW == static_cast<int>(ReasoningMode::kLow));
static_assert(DSV4_REASONING_HIGH == static_cast<int>(ReasoningMode::kHigh));
static_assert(DSV4_REASONING_MAX == static_cast<int>(ReasoningMode::kMax));

namespace dsv4::api {

Role role_of(int32_t role) {
  if (role < DSV4_ROLE_SYSTEM || role > DSV4_ROLE_LATEST_REMINDER) {
    fail(Status::kInvalidArgument, "role {}: a DSV4_ROLE_* value expected", role);
  }
  return static_cast<Role>(role);
}

std::optional<ReasoningMode> reasoning_of(int32_t mode) {
  if (mode == DSV4_REASONING_DEFAULT) return std::nullopt;
  if (mode < DSV4_REASONING_NONE || mode > DSV4_REASONING_MAX) {
    fail(Status::kInvalidArgument, "reasoning {}: a DSV4_REASONING_* value expected", mode);
  }
  return static_cast<ReasoningMode>(mode);
}

std::vector<std::string> read_stops(const char* const* stop, size_t count) {
  std::vector<std::string> out;
  if (count != 0) required(stop, "options: stop");
  for (size_t i = 0; i < count; ++i) {
    const char& first = required(stop[i], "options: a stop string");
    if (first == '\0') fail(Status::kInvalidArgument, "options: stop string {} is empty", i);
    out.emplace_back(&first);
  }
  return out;
}

}  // namespace dsv4::api

namespace {

uint32_t known_text_flags(uint32_t flags) {
  if ((flags & ~static_cast<uint32_t>(DSV4_TEXT_SPECIAL)) != 0) {
    fail(Status::kUnsupported, "flags {:#x}: only DSV4_TEXT_SPECIAL is known", flags);
  }
  return flags;
}

Prompt render_prompt(const dsv4_model* model, const dsv4_conversation* conversation,
                     const dsv4_render_options* options) {
  const Engine& engine = *api::required(model, "model").engine;
  const dsv4_render_options defaults = DSV4_RENDER_OPTIONS_INIT;
  const dsv4_render_options o = api::read_options(options, defaults, "render options");
  if (o.profile < DSV4_PROFILE_AUTO || o.profile > DSV4_PROFILE_0731) {
    fail(Status::kInvalidArgument, "render options: profile {}: a DSV4_PROFILE_* value expected", o.profile);
  }
  RenderOptions render_options;
  render_options.profile = o.profile != DSV4_PROFILE_AUTO ? static_cast<Profile>(o.profile) : engine.profile;
  render_options.mode = api::reasoning_of(o.reasoning);
  return render(api::required(conversation, "conversation").conversation, render_options);
}

}  // namespace

dsv4_status dsv4_tokenize(const dsv4_model* model, const char* text, size_t length, uint32_t flags, int32_t* ids,
                          size_t capacity, size_t* count, dsv4_error** error) {
  return api::guard(error, [&] {
    const Tokenizer& tokenizer = api::required(model, "model").engine->need_tokenizer();
    std::vector<int32_t> out;
    tokenizer.encode(api::text_of(text, length, "text"), known_text_flags(flags) != 0, out);
    api::write_items(out, ids, capacity, count);
  });
}

dsv4_status dsv4_detokenize(const dsv4_model* model, const int32_t* ids, size_t count, uint32_t flags, char* text,
                            size_t capacity, size_t* length, dsv4_error** error) {
  return api::guard(error, [&] {
    const Tokenizer& tokenizer = api::required(model, "model").engine->need_tokenizer();
    if (count != 0) api::required(ids, "ids");
    const bool special = known_text_flags(flags) != 0;
    const int64_t vocab = model->engine->model->config().vocab;
    for (size_t i = 0; i < count; ++i) {
      if (ids[i] < 0 || ids[i] >= vocab) {
        fail(Status::kInvalidArgument, "token id {} at index {}: 0 to {} expected", ids[i], i, vocab - 1);
      }
    }
    const ControlTokens control = special ? ControlTokens::kWrite : ControlTokens::kSkip;
    const std::string out = decode_bytes(tokenizer, {ids, count}, control);
    api::write_items(out, text, capacity, length);
  });
}

dsv4_status dsv4_conversation_create(dsv4_conversation** conversation, dsv4_error** error) {
  return api::guard(error, [&] { api::required(conversation, "conversation") = new dsv4_conversation(); });
}

dsv4_status dsv4_conversation_from_json(const char* json, size_t length, dsv4_conversation** conversation,
                                        dsv4_error** error) {
  return api::guard(error, [&] {
    api::required(conversation, "conversation");
    auto out = std::make_unique<dsv4_conversation>();
    out->conversation = Conversation::from_json(api::text_of(json, length, "json"));
    *conversation = out.release();
  });
}

dsv4_status dsv4_conversation_add(dsv4_conversation* conversation, int32_t role, const char* text, size_t length,
                                  dsv4_error** error) {
  return api::guard(error, [&] {
    api::required(conversation, "conversation")
        .conversation.add(api::role_of(role), api::text_of(text, length, "text"));
  });
}

dsv4_status dsv4_conversation_add_tool_result(dsv4_conversation* conversation, const char* call_id, const char* text,
                                              size_t length, dsv4_error** error) {
  return api::guard(error, [&] {
    Conversation& own = api::required(conversation, "conversation").conversation;
    own.add_tool_result(&api::required(call_id, "call_id"), api::text_of(text, length, "text"));
  });
}

dsv4_status dsv4_conversation_append_json(dsv4_conversation* conversation, const char* json, size_t length,
                                          dsv4_error** error) {
  return api::guard(error, [&] {
    api::required(conversation, "conversation").conversation.append_json(api::text_of(json, length, "json"));
  });
}

dsv4_status dsv4_conversation_count(const dsv4_conversation* conversation, size_t* count, dsv4_error** error) {
  return api::guard(error, [&] {
    api::required(count, "count") = api::required(conversation, "conversation").conversation.messages.size();
  });
}

dsv4_status dsv4_conversation_message_json(const dsv4_conversation* conversation, size_t index, char* text,
                                           size_t capacity, size_t* length, dsv4_error** error) {
  return api::guard(error, [&] {
    const std::vector<Message>& messages = api::required(conversation, "conversation").conversation.messages;
    if (index >= messages.size()) {
      fail(Status::kInvalidArgument, "message {}: the conversation has {}", index, messages.size());
    }
    api::write_items(to_json(messages[index]).dump(), text, capacity, length);
  });
}

dsv4_status dsv4_conversation_json(const dsv4_conversation* conversation, char* text, size_t capacity, size_t* length,
                                   dsv4_error** error) {
  return api::guard(error, [&] {
    const Conversation& own = api::required(conversation, "conversation").conversation;
    api::write_items(own.to_json().dump(), text, capacity, length);
  });
}

void dsv4_conversation_release(dsv4_conversation** conversation) {
  if (conversation == nullptr) return;
  delete *conversation;
  *conversation = nullptr;
}

void dsv4_render_options_init(dsv4_render_options* options, size_t struct_size) {
  const dsv4_render_options defaults = DSV4_RENDER_OPTIONS_INIT;
  api::init_options(options, struct_size, defaults);
}

dsv4_status dsv4_render(const dsv4_model* model, const dsv4_conversation* conversation,
                        const dsv4_render_options* options, char* text, size_t capacity, size_t* length,
                        dsv4_error** error) {
  return api::guard(
      error, [&] { api::write_items(render_prompt(model, conversation, options).text(), text, capacity, length); });
}

dsv4_status dsv4_render_tokens(const dsv4_model* model, const dsv4_conversation* conversation,
                               const dsv4_render_options* options, int32_t* ids, size_t capacity, size_t* count,
                               dsv4_error** error) {
  return api::guard(error, [&] {
    const Prompt prompt = render_prompt(model, conversation, options);
    std::vector<int32_t> out;
    prompt.encode(model->engine->need_tokenizer(), out);
    api::write_items(out, ids, capacity, count);
  });
}
