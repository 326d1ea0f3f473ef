// Every call about a file fails once, or delivers less than was asked for, or finds the file cut short, and so does
// every call of a host's own callbacks: the call answers a status with a message, or goes on to the same result, and
// made again it succeeds. A path that is saved to holds what it held, or all of the new.
//
//   every place, however many:  file_faults_test --no-skip -tc='every*'

#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/faults/fault_scenes.h"

using namespace dsv4::test;

namespace {

const FaultSpec kFails = {FaultOf::kFile, FaultKind::kFail, FaultSpan::kOnce};
const FaultSpec kShortened = {FaultOf::kFile, FaultKind::kShort, FaultSpan::kOnce};
const FaultSpec kCutOff = {FaultOf::kFile, FaultKind::kEnd, FaultSpan::kOnce};

const std::vector<dsv4_status> kIo = {DSV4_E_IO};
const std::vector<dsv4_status> kCorrupt = {DSV4_E_CORRUPT};

void all_kinds(const std::string& name, const MakeScene& make, int64_t most) {
  const Sweep fails = sweep(name + ", fails", make, kFails, most, kIo);
  CHECK(fails.failed == fails.runs - 1);
  sweep(name + ", shortened", make, kShortened, most, kCorrupt);
  sweep(name + ", cut off", make, kCutOff, most, kCorrupt);
}

void all(int64_t most) {
  all_kinds("open micro", open_scene(kMicroFolder, "reference"), most);
  all_kinds("open tiny", open_scene(kTinyFolder, "reference"), most);
  const Stage stage(open_model(kMicroFolder, "reference"));
  dsv4_session* some = stage.evaluated(21, 8);
  dsv4_session* many = stage.evaluated(300, 64);
  sweep("save to a path, fails", save_scene(stage, many, Way::kPath), kFails, most, kIo);
  const Sweep shortened = sweep("save to a path, shortened", save_scene(stage, many, Way::kPath), kShortened, most, {});
  CHECK(shortened.survived == shortened.runs - 1);  // the rest is written with another call
  all_kinds("restore from a path", restore_scene(stage, some, many, Way::kPath), most);
  const auto save = save_scene(stage, many, Way::kCallback), restore = restore_scene(stage, some, many, Way::kCallback);
  const Sweep writes = sweep("a write callback gives up", save, callback_injector(CallbackFault::kGivesUp), most, kIo);
  CHECK(writes.failed == writes.runs - 1);
  const Sweep reads = sweep("a read callback gives up", restore, callback_injector(CallbackFault::kGivesUp), most, kIo);
  CHECK(reads.failed == reads.runs - 1);
  const Sweep bytes = sweep("a read callback has one byte", restore, callback_injector(CallbackFault::kOneByte), most, {});
  CHECK(bytes.survived == bytes.runs - 1);
  const Sweep ends = sweep("a read callback ends", restore, callback_injector(CallbackFault::kEnd), most, kCorrupt);
  CHECK(ends.failed == ends.runs - 1);
  dsv4_session_release(&some);
  dsv4_session_release(&many);
}

}  // namespace

TEST_CASE("a call about a file fails") { all(100); }
TEST_CASE("every call about a file fails" * doctest::skip()) { all(kEvery); }
