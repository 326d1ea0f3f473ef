// dsv4.h, section "session".

#include <algorithm>
#include <cstdint>

#include "lib/api/guard.h"
#include "lib/api/handles.h"

using namespace dsv4;

namespace {

Session& session_of(dsv4_session* session) { return api::required(session, "session").session; }

Timeline::Progress progress_of(const dsv4_eval_options& o) {
  if (o.progress == nullptr) return {};
  return [progress = o.progress, user = o.progress_user](int64_t done, int64_t total) {
    return progress(user, static_cast<uint64_t>(done), static_cast<uint64_t>(total)) == 0;
  };
}

}  // namespace

void dsv4_session_options_init(dsv4_session_options* options, size_t struct_size) {
  const dsv4_session_options defaults = DSV4_SESSION_OPTIONS_INIT;
  api::init_options(options, struct_size, defaults);
}

dsv4_status dsv4_session_create(dsv4_model* model, const dsv4_session_options* options, dsv4_session** session,
                                dsv4_error** error) {
  return api::guard(error, [&] {
    api::required(model, "model");
    api::required(session, "session");
    const dsv4_session_options defaults = DSV4_SESSION_OPTIONS_INIT;
    const dsv4_session_options o = api::read_options(options, defaults, "session options");
    if ((o.flags & ~static_cast<uint32_t>(DSV4_SESSION_DRAFT)) != 0) {
      fail(Status::kUnsupported, "session options: flags {:#x}: only DSV4_SESSION_DRAFT is known", o.flags);
    }
    if (o.prefill_chunk < 0) {
      fail(Status::kInvalidArgument, "session options: prefill_chunk {}: 0 or more expected", o.prefill_chunk);
    }
    const uint64_t limit = static_cast<uint64_t>(model->engine->model->config().max_positions);
    if (o.context > limit) {
      fail(Status::kInvalidArgument, "session options: context {}: at most {} expected (max_position_embeddings)",
           o.context, limit);
    }
    SessionOptions own;
    own.context = static_cast<int64_t>(o.context);
    own.chunk = o.prefill_chunk;
    own.draft = (o.flags & DSV4_SESSION_DRAFT) != 0;
    if (o.checkpoints < -1) {
      fail(Status::kInvalidArgument, "session options: checkpoints {}: -1 or more expected", o.checkpoints);
    }
    if (o.checkpoints != 0) own.checkpoints = std::max(o.checkpoints, 0);
    *session = new dsv4_session(model->engine, own);
  });
}

void dsv4_session_release(dsv4_session** session) {
  if (session == nullptr) return;
  delete *session;
  *session = nullptr;
}

dsv4_status dsv4_session_append_message(dsv4_session* session, int32_t role, const char* text, size_t length,
                                        dsv4_error** error) {
  return api::guard(error, [&] {
    const Session::Use use(session_of(session));
    session->session.append_message(api::role_of(role), api::text_of(text, length, "text"));
  });
}

dsv4_status dsv4_session_set_conversation(dsv4_session* session, const dsv4_conversation* conversation,
                                          dsv4_error** error) {
  return api::guard(error, [&] {
    const Session::Use use(session_of(session));
    session->session.set_conversation(api::required(conversation, "conversation").conversation);
  });
}

dsv4_status dsv4_session_append_tool_result(dsv4_session* session, const char* call_id, const char* text, size_t length,
                                            dsv4_error** error) {
  return api::guard(error, [&] {
    const Session::Use use(session_of(session));
    const char& id = api::required(call_id, "call_id");
    session->session.append_tool_result(&id, api::text_of(text, length, "text"));
  });
}

dsv4_status dsv4_session_append_json(dsv4_session* session, const char* json, size_t length, dsv4_error** error) {
  return api::guard(error, [&] {
    const Session::Use use(session_of(session));
    session->session.append_json(api::text_of(json, length, "json"));
  });
}

dsv4_status dsv4_session_conversation(dsv4_session* session, dsv4_conversation** conversation, dsv4_error** error) {
  return api::guard(error, [&] {
    const Session::Use use(session_of(session));
    api::required(conversation, "conversation");
    auto copy = std::make_unique<dsv4_conversation>();
    copy->conversation = session->session.conversation();
    *conversation = copy.release();
  });
}

dsv4_status dsv4_session_append_tokens(dsv4_session* session, const int32_t* ids, size_t count, dsv4_error** error) {
  return api::guard(error, [&] {
    const Session::Use use(session_of(session));
    if (count != 0) api::required(ids, "ids");
    session->session.append_tokens({ids, count});
  });
}

dsv4_status dsv4_session_sync_tokens(dsv4_session* session, const int32_t* ids, size_t count, dsv4_error** error) {
  return api::guard(error, [&] {
    const Session::Use use(session_of(session));
    if (count != 0) api::required(ids, "ids");
    session->session.sync_tokens({ids, count});
  });
}

dsv4_status dsv4_session_rewind(dsv4_session* session, uint64_t position, dsv4_error** error) {
  return api::guard(error, [&] {
    const Session::Use use(session_of(session));
    session->session.rewind(static_cast<int64_t>(std::min<uint64_t>(position, INT64_MAX)));
  });
}

dsv4_status dsv4_session_fork(dsv4_session* session, dsv4_session** fork, dsv4_error** error) {
  return api::guard(error, [&] {
    const Session::Use use(session_of(session));
    api::required(fork, "fork");
    *fork = new dsv4_session(session->session);
  });
}

dsv4_status dsv4_session_clear(dsv4_session* session, dsv4_error** error) {
  return api::guard(error, [&] {
    const Session::Use use(session_of(session));
    session->session.clear();
  });
}

dsv4_status dsv4_session_tokens(dsv4_session* session, int32_t* ids, size_t capacity, size_t* count,
                                dsv4_error** error) {
  return api::guard(error, [&] {
    const Session::Use use(session_of(session));
    api::write_items(session->session.timeline().tokens(), ids, capacity, count);
  });
}

dsv4_status dsv4_session_info_get(dsv4_session* session, dsv4_session_info* info, dsv4_error** error) {
  return api::guard(error, [&] {
    const Session::Use use(session_of(session));
    const Timeline& t = session->session.timeline();
    dsv4_session_info out{};
    out.tokens = static_cast<uint64_t>(t.size());
    out.evaluated = static_cast<uint64_t>(t.evaluated());
    out.context = static_cast<uint64_t>(t.context());
    out.state_bytes = t.state_bytes();
    out.checkpoints = static_cast<uint64_t>(t.checkpoints().count());
    out.checkpoint_bytes = t.checkpoints().bytes();
    out.interrupted = session->session.open_turn() ? 1 : 0;
    out.driven = static_cast<int32_t>(session->session.drive());
    api::write_info(info, out, "info");
  });
}

void dsv4_eval_options_init(dsv4_eval_options* options, size_t struct_size) {
  const dsv4_eval_options defaults = DSV4_EVAL_OPTIONS_INIT;
  api::init_options(options, struct_size, defaults);
}

dsv4_status dsv4_session_eval(dsv4_session* session, const int32_t* ids, size_t count, const dsv4_eval_options* options,
                              dsv4_error** error) {
  return api::guard(error, [&] {
    const Session::Use use(session_of(session));
    if (count != 0) api::required(ids, "ids");
    const dsv4_eval_options defaults = DSV4_EVAL_OPTIONS_INIT;
    const dsv4_eval_options o = api::read_options(options, defaults, "eval options");
    if (o.draft_logits != nullptr && !session->session.timeline().has_draft()) {
      fail(Status::kInvalidArgument, "eval options: draft_logits needs a session created with DSV4_SESSION_DRAFT");
    }
    if (session->session.drive() == Session::Drive::kMessages && count == 0) {
      if (o.logits != nullptr || o.draft_logits != nullptr) {
        fail(Status::kInvalidArgument, "eval options: logits of every row: only of tokens that are given");
      }
      return session->session.evaluate_messages(progress_of(o));
    }
    session->session.evaluate({ids, count}, {o.logits, o.draft_logits}, progress_of(o));
  });
}

dsv4_status dsv4_session_logits(dsv4_session* session, float* logits, size_t capacity, size_t* count,
                                dsv4_error** error) {
  return api::guard(error, [&] {
    const Session::Use use(session_of(session));
    api::write_items(session->session.timeline().logits(), logits, capacity, count);
  });
}

void dsv4_session_cancel(dsv4_session* session) {
  if (session != nullptr) session->session.cancel();
}

dsv4_status dsv4_session_pretend(dsv4_session* session, uint64_t position, dsv4_error** error) {
  return api::guard(error, [&] {
    const Session::Use use(session_of(session));
    session->session.pretend(position);
  });
}
