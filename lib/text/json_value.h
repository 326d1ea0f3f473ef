// Json: a parsed JSON value that keeps what a prompt needs byte for byte: the order of keys and the text of numbers.
// Parsing is bounded in depth and in values, so that text from a caller can neither overflow the stack nor grow
// without bound; numbers keep the form that Python's json module gives them, because the training data was written
// with it. Typed access names the JSON path of whatever does not fit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/error.h"

namespace dsv4 {

class Json {
 public:
  enum class Kind : uint8_t { kNull, kBool, kNumber, kString, kArray, kObject };

  Json() = default;
  static Json string(std::string text);
  static Json boolean(bool value);
  static Json number(std::string text);  // text as it is to be written
  static Json array();
  static Json object();

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::kNull; }
  bool is_bool() const { return kind_ == Kind::kBool; }
  bool is_number() const { return kind_ == Kind::kNumber; }
  bool is_string() const { return kind_ == Kind::kString; }
  bool is_array() const { return kind_ == Kind::kArray; }
  bool is_object() const { return kind_ == Kind::kObject; }

  bool bool_value() const { return bool_; }
  const std::string& text() const { return text_; }               // of a string or a number
  const std::vector<Json>& items() const { return items_; }       // of an array or an object
  const std::vector<std::string>& keys() const { return keys_; }  // of an object: keys()[i] names items()[i]
  size_t size() const { return items_.size(); }

  const Json* find(std::string_view key) const;  // nullptr when absent
  // False unless this is a number without a fraction within the limits.
  bool integer(int64_t lowest, int64_t highest, int64_t& out) const;
  void append(Json value) { items_.push_back(std::move(value)); }
  void append(std::string key, Json value);  // the key must be new
  void set(std::string key, Json value);     // replaces in place, or appends

  // As Python writes it with json.dumps(value, ensure_ascii=False): ", " and ": ", key order kept.
  void dump(std::string& out) const;
  std::string dump() const;

 private:
  friend class JsonBuilder;
  Kind kind_ = Kind::kNull;
  bool bool_ = false;
  std::string text_;
  std::vector<Json> items_;
  std::vector<std::string> keys_;
};

// Appends what stands between the quotes of the JSON string for `s`. Texts escaped one after the other make up the
// whole one's escape.
void json_escape(std::string_view s, std::string& out);

// "a string", "null", "an object" ...: for messages.
const char* json_kind_name(Json::Kind kind);

struct JsonLimits {
  size_t depth = 512;
  size_t values = 2'000'000;
};

// Parses one JSON text. Error `status` with `what` (a file's name, "messages"), the byte and the reason.
Json parse_json(std::string_view text, std::string_view what, Status status, const JsonLimits& limits = {});
// The same without an error: false when the text is not JSON within the limits.
bool try_parse_json(std::string_view text, Json& out, const JsonLimits& limits = {});

// One value and where it stands, for reading a document with errors that name the path. A path that ends with ':'
// ("tokenizer.json:") is a document's name.
class JsonAt {
 public:
  JsonAt(const Json* value, std::string path, Status status) : value_(value), path_(std::move(path)), status_(status) {}

  bool present() const { return value_ != nullptr && !value_->is_null(); }  // null counts as absent
  const std::string& path() const { return path_; }
  const Json& value() const { return *value_; }

  JsonAt at(std::string_view key) const;  // of an object; absent keys give an absent value
  JsonAt at(size_t index) const;          // of an array
  size_t size() const { return value_->size(); }

  // Each fails unless the value is there and of that kind.
  const std::string& string() const;
  bool boolean() const;
  int64_t integer(int64_t lowest, int64_t highest) const;
  const JsonAt& array() const;
  const JsonAt& object() const;
  [[noreturn]] void mismatch(std::string_view expected) const;

 private:
  const Json* value_;
  std::string path_;
  Status status_;
};

}  // namespace dsv4
