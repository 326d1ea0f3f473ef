#include "lib/text/json_value.h"

#include <charconv>
#include <cmath>
#include <unordered_map>
#include <utility>

#include <nlohmann/json.hpp>

#include "lib/base/utf8.h"

namespace dsv4 {
namespace {

// repr() of a Python float: the shortest digits that round-trip; an exponent below 1e-4 and from 1e16 on.
std::string python_float(double x) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), x, std::chars_format::scientific).ptr;
  const std::string_view scientific(buffer, static_cast<size_t>(end - buffer));  // [-]d[.ddd]e[+-]dd
  const size_t e = scientific.find('e');
  int exponent = 0;
  const bool negative = scientific[e + 1] == '-';
  std::from_chars(scientific.data() + e + 2, end, exponent);
  if (negative) exponent = -exponent;
  const std::string_view sign = scientific.substr(0, scientific[0] == '-' ? 1 : 0);
  std::string digits;
  for (char c : scientific.substr(sign.size(), e - sign.size())) {
    if (c != '.') digits.push_back(c);
  }
  std::string out(sign);
  if (exponent < -4 || exponent >= 16) {
    out += digits.substr(0, 1);
    if (digits.size() > 1) out += "." + digits.substr(1);
    return out + fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  const size_t whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) return out + digits + std::string(whole - digits.size(), '0') + ".0";
  return out + digits.substr(0, whole) + "." + digits.substr(whole);
}

void dump_string(const std::string& s, std::string& out) {
  out.push_back('"');
  json_escape(s, out);
  out.push_back('"');
}

}  // namespace

void json_escape(std::string_view s, std::string& out) {
  for (const char c : s) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      case '\f': out += "\\f"; break;
      case '\b': out += "\\b"; break;
      default:
        if (static_cast<uint8_t>(c) < 0x20) {
          fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
        } else {
          out.push_back(c);
        }
    }
  }
}

Json Json::string(std::string text) {
  Json j;
  j.kind_ = Kind::kString;
  j.text_ = std::move(text);
  return j;
}
Json Json::boolean(bool value) {
  Json j;
  j.kind_ = Kind::kBool;
  j.bool_ = value;
  return j;
}
Json Json::number(std::string text) {
  Json j;
  j.kind_ = Kind::kNumber;
  j.text_ = std::move(text);
  return j;
}
Json Json::array() {
  Json j;
  j.kind_ = Kind::kArray;
  return j;
}
Json Json::object() {
  Json j;
  j.kind_ = Kind::kObject;
  return j;
}

const Json* Json::find(std::string_view key) const {
  for (size_t i = 0; i < keys_.size(); ++i) {
    if (keys_[i] == key) return &items_[i];
  }
  return nullptr;
}

bool Json::integer(int64_t lowest, int64_t highest, int64_t& out) const {
  if (!is_number()) return false;
  const char* end = text_.data() + text_.size();
  const auto result = std::from_chars(text_.data(), end, out);
  return result.ec == std::errc() && result.ptr == end && out >= lowest && out <= highest;
}

void Json::set(std::string key, Json value) {
  for (size_t i = 0; i < keys_.size(); ++i) {
    if (keys_[i] == key) {
      items_[i] = std::move(value);
      return;
    }
  }
  append(std::move(key), std::move(value));
}

void Json::append(std::string key, Json value) {
  keys_.push_back(std::move(key));
  items_.push_back(std::move(value));
}

void Json::dump(std::string& out) const {
  switch (kind_) {
    case Kind::kNull: out += "null"; break;
    case Kind::kBool: out += bool_ ? "true" : "false"; break;
    case Kind::kNumber: out += text_; break;
    case Kind::kString: dump_string(text_, out); break;
    case Kind::kArray:
    case Kind::kObject: {
      const bool object = kind_ == Kind::kObject;
      out.push_back(object ? '{' : '[');
      for (size_t i = 0; i < items_.size(); ++i) {
        if (i != 0) out += ", ";
        if (object) {
          dump_string(keys_[i], out);
          out += ": ";
        }
        items_[i].dump(out);
      }
      out.push_back(object ? '}' : ']');
    }
  }
}

std::string Json::dump() const {
  std::string out;
  dump(out);
  return out;
}

const char* json_kind_name(Json::Kind kind) {
  switch (kind) {
    case Json::Kind::kNull: return "null";
    case Json::Kind::kBool: return "a boolean";
    case Json::Kind::kNumber: return "a number";
    case Json::Kind::kString: return "a string";
    case Json::Kind::kArray: return "an array";
    case Json::Kind::kObject: return "an object";
  }
  return "nothing";
}

// Receives the events of nlohmann's parser, which keeps no stack of its own on the machine's. Every callback
// returns false to stop; `reason_` then says why.
class JsonBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit JsonBuilder(const JsonLimits& limits) : limits_(limits) {}

  bool null() override { return add(Json()); }
  bool boolean(bool value) override { return add(Json::boolean(value)); }
  bool number_integer(number_integer_t value) override { return add(Json::number(std::to_string(value))); }
  bool number_unsigned(number_unsigned_t value) override { return add(Json::number(std::to_string(value))); }
  // Also called for integers beyond 64 bits: those keep their digits, as Python's do.
  bool number_float(number_float_t value, const string_t& text) override {
    const bool integer = text.find_first_of(".eE") == std::string::npos;
    return add(Json::number(integer ? text : python_float(value)));
  }
  bool string(string_t& value) override { return add(Json::string(std::move(value))); }
  bool binary(binary_t&) override { return stop("binary value"); }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool key(string_t& value) override {
    stack_.back().keys_.push_back(std::move(value));
    return true;
  }
  bool end_array() override { return close(); }
  bool end_object() override {
    join_duplicates(stack_.back());
    return close();
  }
  bool parse_error(std::size_t at, const std::string&, const nlohmann::detail::exception& error) override {
    at_ = at;
    return stop(error.what());
  }

  Json root_;
  size_t at_ = 0;
  std::string reason_;

 private:
  bool stop(std::string reason) {
    reason_ = std::move(reason);
    return false;
  }
  bool add(Json value) {
    if (++values_ > limits_.values) return stop(fmt::format("more than {} values", limits_.values));
    if (stack_.empty()) {
      root_ = std::move(value);
    } else {
      stack_.back().items_.push_back(std::move(value));
    }
    return true;
  }
  bool open(Json value) {
    if (stack_.size() >= limits_.depth) return stop(fmt::format("nested deeper than {} levels", limits_.depth));
    stack_.push_back(std::move(value));
    return true;
  }
  bool close() {
    Json value = std::move(stack_.back());
    stack_.pop_back();
    return add(std::move(value));
  }
  // A key given twice stands at its first place with its last value, as in a Python dict.
  static void join_duplicates(Json& object) {
    if (object.keys_.size() < 2) return;
    std::unordered_map<std::string_view, size_t> first;
    first.reserve(object.keys_.size());
    std::vector<bool> drop(object.keys_.size(), false);
    bool any = false;
    for (size_t i = 0; i < object.keys_.size(); ++i) {
      const auto [it, fresh] = first.try_emplace(object.keys_[i], i);
      if (fresh) continue;
      object.items_[it->second] = std::move(object.items_[i]);
      drop[i] = any = true;
    }
    if (!any) return;
    size_t kept = 0;
    for (size_t i = 0; i < drop.size(); ++i) {
      if (drop[i]) continue;
      if (kept != i) {
        object.keys_[kept] = std::move(object.keys_[i]);
        object.items_[kept] = std::move(object.items_[i]);
      }
      ++kept;
    }
    object.keys_.resize(kept);
    object.items_.resize(kept);
  }

  JsonLimits limits_;
  size_t values_ = 0;
  std::vector<Json> stack_;
};

Json parse_json(std::string_view text, std::string_view what, Status status, const JsonLimits& limits) {
  JsonBuilder builder(limits);
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) {
    // The parser quotes the last token, which may be long or broken UTF-8.
    std::string reason = utf8_sanitize(std::string_view(builder.reason_).substr(0, 240));
    if (builder.at_ != 0) fail(status, "{}: not valid JSON at byte {}: {}", what, builder.at_, reason);
    fail(status, "{}: {}", what, reason);
  }
  return std::move(builder.root_);
}

bool try_parse_json(std::string_view text, Json& out, const JsonLimits& limits) {
  JsonBuilder builder(limits);
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) return false;
  out = std::move(builder.root_);
  return true;
}

JsonAt JsonAt::at(std::string_view key) const {
  const char* joint = path_.empty() ? "" : path_.back() == ':' ? " " : ".";
  return JsonAt(value_ == nullptr ? nullptr : value_->find(key), fmt::format("{}{}{}", path_, joint, key), status_);
}

JsonAt JsonAt::at(size_t index) const {
  return JsonAt(&value_->items()[index], fmt::format("{}[{}]", path_, index), status_);
}

void JsonAt::mismatch(std::string_view expected) const {
  fail(status_, "{}: expected {}, found {}", path_.empty() ? "document" : path_, expected,
       value_ == nullptr ? "nothing" : json_kind_name(value_->kind()));
}

const std::string& JsonAt::string() const {
  if (value_ == nullptr || !value_->is_string()) mismatch("a string");
  return value_->text();
}

bool JsonAt::boolean() const {
  if (value_ == nullptr || !value_->is_bool()) mismatch("a boolean");
  return value_->bool_value();
}

int64_t JsonAt::integer(int64_t lowest, int64_t highest) const {
  if (value_ == nullptr || !value_->is_number()) mismatch("an integer");
  int64_t number = 0;
  if (!value_->integer(lowest, highest, number)) {
    fail(status_, "{}: expected an integer from {} to {}, found {}", path_, lowest, highest,
         value_->text().substr(0, 40));
  }
  return number;
}

const JsonAt& JsonAt::array() const {
  if (value_ == nullptr || !value_->is_array()) mismatch("an array");
  return *this;
}

const JsonAt& JsonAt::object() const {
  if (value_ == nullptr || !value_->is_object()) mismatch("an object");
  return *this;
}

}  // namespace dsv4
