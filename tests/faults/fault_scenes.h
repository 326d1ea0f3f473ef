// The scenes: one for each kind of call of the header that can meet a fault.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "include/dsv4.h"
#include "tests/faults/fault_scene.h"

namespace dsv4::test {

// A model that stays open, and a session of it that scenes fork from.
class Stage {
 public:
  explicit Stage(dsv4_model* model);  // takes the model
  ~Stage();
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  dsv4_model* model() const { return model_; }
  dsv4_session* create(uint64_t context = 1024, int32_t chunk = 0) const;
  dsv4_session* fork(dsv4_session* other) const;
  // Token-driven; every one evaluated.
  dsv4_session* evaluated(int64_t tokens, int32_t chunk = 0) const;
  // Message-driven, with tools; an answer was interrupted by its limit.
  dsv4_session* interrupted() const;
  // The same, and the host went on with another message.
  dsv4_session* conversed() const;

 private:
  dsv4_model* model_;
};

dsv4_model* open_model(const std::string& folder, const char* backend, int32_t threads = 2);
extern const std::string kMicroFolder, kTinyFolder;
std::vector<int32_t> some_ids(int64_t count, uint32_t seed);

MakeScene open_scene(const std::string& folder, const char* backend);
MakeScene create_scene(const Stage& stage);
MakeScene append_tokens_scene(const Stage& stage, dsv4_session* from);
MakeScene append_message_scene(const Stage& stage, dsv4_session* from);
MakeScene append_json_scene(const Stage& stage, dsv4_session* from);
MakeScene set_conversation_scene(const Stage& stage, dsv4_session* from);
MakeScene eval_scene(const Stage& stage, dsv4_session* from, int64_t tokens, bool rows);
MakeScene generate_tokens_scene(const Stage& stage, dsv4_session* from, uint64_t tokens);
// Rows enough for oneDNN, on a model of its own that has never met their shapes.
MakeScene first_eval_scene(const std::string& folder, int64_t tokens);
enum class Say { kTools, kConstrained };
MakeScene generate_messages_scene(const Stage& stage, dsv4_session* from, Say say, bool poll);
MakeScene resume_scene(const Stage& stage, dsv4_session* from);
MakeScene poll_tokens_scene(const Stage& stage, dsv4_session* from, uint64_t tokens);
MakeScene fork_scene(const Stage& stage, dsv4_session* from);
MakeScene rewind_scene(const Stage& stage, dsv4_session* from, uint64_t position);
enum class Way { kPath, kCallback };
// The host's own callbacks of save and restore: the Nth call gives up, or takes no more than a byte, or finds the end.
enum class CallbackFault { kGivesUp, kOneByte, kEnd };
Injector callback_injector(CallbackFault fault);
MakeScene save_scene(const Stage& stage, dsv4_session* from, Way way);
MakeScene restore_scene(const Stage& stage, dsv4_session* from, dsv4_session* saved, Way way);

}  // namespace dsv4::test
