// Inside a block of tool calls (spec: prompt.md, "Rendering"): calls, their parameters, the block's end, read from
// marked text of any cut into events. Arguments come out as the JSON object that they make up, piece by piece: a
// parameter marked string="true" is raw text that becomes a JSON string, any other must be JSON already.
// White space between tags has no meaning (the profiles differ in it); everything else that the format does not have
// is a break of it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/text/stream_event.h"

namespace dsv4 {

class ToolCallReader {
 public:
  // id_seed: ids of calls differ between turns whose seeds differ.
  explicit ToolCallReader(uint64_t id_seed) : id_seed_(id_seed) {}

  // A block begins; `opening` is what began it, as written.
  void begin(std::string_view opening);

  enum class Result : uint8_t { kMore, kClosed, kBroken };
  // Takes from the front of `marked` what is certain; kMore leaves what may still become a tag. After kBroken,
  // raw() + marked is all that no complete call holds.
  Result read(std::string& marked, std::vector<StreamEvent>& out);

  const std::string& raw() const { return raw_; }  // marked text since the last complete call
  uint64_t calls() const { return calls_; }        // complete ones, of all blocks

 private:
  enum class Place : uint8_t { kBlock, kCall, kValue };
  enum class Step : uint8_t { kGoOn, kMore, kClosed, kBroken };
  struct Tag;
  static Tag read_tag(std::string_view marked);

  Step read_between(std::string& marked, std::vector<StreamEvent>& out);
  Step read_value(std::string& marked, std::vector<StreamEvent>& out);
  bool begin_call(const Tag& tag, std::vector<StreamEvent>& out);
  bool begin_parameter(const Tag& tag, std::vector<StreamEvent>& out);
  bool end_parameter(std::vector<StreamEvent>& out);
  void end_call(std::vector<StreamEvent>& out);
  void value(std::string_view text, std::vector<StreamEvent>& out);
  void arguments(std::string_view json, std::vector<StreamEvent>& out);
  void take(std::string& marked, size_t count);

  const uint64_t id_seed_;
  Place place_ = Place::kBlock;
  std::string raw_;
  uint64_t calls_ = 0;
  uint64_t calls_before_ = 0;      // when this block began
  ToolCall call_;                  // the one that is being read
  std::vector<std::string> keys_;  // of its parameters
  bool is_json_ = false;           // of the parameter that is being read
  std::string json_;               // its text so far, when it is
};

}  // namespace dsv4
