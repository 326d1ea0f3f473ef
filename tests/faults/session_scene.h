// What the scenes of a session's calls share.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "tests/faults/fault_scene.h"
#include "tests/faults/fault_scenes.h"

namespace dsv4::test {

constexpr uint64_t kContext = 1024;

void need(dsv4_status status, dsv4_error* error);  // DSV4_OK, or the test fails with the message
std::string seen_of(dsv4_session* s);              // what its functions tell, without evaluating anything
std::string all_of(dsv4_session* s);               // also what its state makes of it, which a fork is asked

class SessionScene : public Scene {
 public:
  SessionScene(const Stage& stage, dsv4_session* from) : stage_(stage), session_(stage.fork(from)) {}
  ~SessionScene() override { dsv4_session_release(&session_); }
  std::string before() override { return seen_of(session_); }
  std::string after() override { return all_of(session_); }

 protected:
  const Stage& stage_;
  dsv4_session* session_;
};

template <class S, class... Args>
MakeScene maker(Args... args) {
  return [=] { return std::make_unique<S>(args...); };
}

}  // namespace dsv4::test
