// tokenizer.json -> Tokenizer. The file is untrusted: every index, id and size is checked, and every key that changes
// how text is tokenized is either implemented or refused by name.
#include <algorithm>
#include <unordered_map>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/file_map.h"
#include "lib/base/utf8.h"
#include "lib/text/byte_alphabet.h"
#include "lib/text/json_value.h"
#include "lib/text/protocol_text.h"
#include "lib/text/tokenizer.h"

namespace dsv4 {
namespace {

constexpr size_t kFileLimit = 128u << 20;
constexpr int64_t kIdLimit = (1 << 20) - 1;  // bounds what one far id can allocate
constexpr JsonLimits kJsonLimits{64, 6'000'000};

// A token in a message: whole characters, not too many.
std::string shown(std::string_view token) { return utf8_sanitize(token.size() <= 60 ? token : token.substr(0, 60)); }

}  // namespace

class TokenizerLoader {
 public:
  explicit TokenizerLoader(const std::string& name) : name_(name), out_(new Tokenizer()) {}

  std::unique_ptr<Tokenizer> run(std::string_view json) {
    const Json root = parse_json(json, name_, Status::kCorrupt, kJsonLimits);
    const JsonAt file(&root, name_ + ":", Status::kCorrupt);
    file.object();
    check_stages(file);
    out_->pre_tokenizer_ = std::make_unique<PreTokenizer>(file.at("pre_tokenizer"));
    const JsonAt model = file.at("model").object();
    check_model(model);
    read_vocab(model.at("vocab").object());
    read_merges(model.at("merges").array());
    read_bytes(model.at("vocab"));
    read_added(file.at("added_tokens"));
    store();
    return std::move(out_);
  }

 private:
  [[noreturn]] static void refuse(const JsonAt& at) {
    std::string found = at.value().dump();
    fail(Status::kUnsupported, "{}: {} is not supported", at.path(), shown(found));
  }

  // What surrounds the model: none of it may change ids.
  void check_stages(const JsonAt& file) {
    for (const char* key : {"truncation", "padding"}) {
      if (file.at(key).present()) refuse(file.at(key));
    }
    const JsonAt normalizer = file.at("normalizer");
    if (normalizer.present()) {
      const std::string& type = normalizer.object().at("type").string();
      if (type != "Sequence") fail(Status::kUnsupported, "{}: \"{}\" is not supported", normalizer.path(), shown(type));
      if (normalizer.at("normalizers").array().size() != 0) refuse(normalizer.at("normalizers"));
    }
    // A ByteLevel post-processor only trims offsets.
    const JsonAt post = file.at("post_processor");
    if (post.present() && post.object().at("type").string() != "ByteLevel") {
      fail(Status::kUnsupported, "{}: \"{}\" is not supported", post.path(), shown(post.at("type").string()));
    }
    const JsonAt decoder = file.at("decoder");
    if (decoder.object().at("type").string() != "ByteLevel") {
      fail(Status::kUnsupported, "{}: \"{}\" is not supported", decoder.path(), shown(decoder.at("type").string()));
    }
  }

  void check_model(const JsonAt& model) {
    const std::string& type = model.at("type").string();
    if (type != "BPE")
      fail(Status::kUnsupported, "{}.type: \"{}\" is not supported (BPE is)", model.path(), shown(type));
    for (const char* key : {"dropout", "unk_token"}) {
      if (model.at(key).present()) refuse(model.at(key));
    }
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      if (model.at(key).present() && !model.at(key).string().empty()) refuse(model.at(key));
    }
    for (const char* key : {"fuse_unk", "byte_fallback", "ignore_merges"}) {
      if (model.at(key).present() && model.at(key).boolean()) refuse(model.at(key));
    }
  }

  // Where token `id` stands, growing the tables up to it.
  std::string& slot(int64_t id) {
    const size_t i = static_cast<size_t>(id);
    if (i >= tokens_.size()) {
      tokens_.resize(i + 1);
      out_->flags_.resize(i + 1, 0);
    }
    return tokens_[i];
  }

  void read_vocab(const JsonAt& vocab) {
    const Json& object = vocab.value();
    ids_.reserve(object.size());
    tokens_.reserve(object.size() + 4096);
    for (size_t i = 0; i < object.size(); ++i) {
      const std::string& token = object.keys()[i];
      int64_t id = 0;
      if (!object.items()[i].integer(0, kIdLimit, id)) {  // the path is for a failure only: there are many tokens
        JsonAt(&object.items()[i], fmt::format("{}[\"{}\"]", vocab.path(), shown(token)), Status::kCorrupt)
            .integer(0, kIdLimit);
      }
      std::string& bytes = slot(id);
      uint8_t& flags = out_->flags_[static_cast<size_t>(id)];
      if (flags != 0)
        fail(Status::kCorrupt, "{}[\"{}\"]: id {} is given to two tokens", vocab.path(), shown(token), id);
      flags = Tokenizer::kPresent;
      // A token that is not written in the byte alphabet (an added token that is also listed here) is its own text.
      if (!alphabet_.decode(token, bytes)) bytes = token;
      ids_.emplace(token, static_cast<int32_t>(id));
    }
  }

  int32_t merge_token(const JsonAt& merges, size_t i, std::string_view token) {
    const auto it = ids_.find(token);
    if (it == ids_.end()) {
      fail(Status::kCorrupt, "{}: token \"{}\" is not in the vocabulary", merges.at(i).path(), shown(token));
    }
    return it->second;
  }

  // ["a b", ...] or, in newer files, [["a", "b"], ...]: the place in the list is the rank.
  void read_merges(const JsonAt& merges) {
    out_->merges_.reserve(merges.size());
    std::string joined;
    std::vector<bool> used(tokens_.size(), false);  // by a merge so far
    for (size_t i = 0; i < merges.size(); ++i) {
      const Json& merge = merges.value().items()[i];
      std::string_view left, right;
      if (merge.is_string()) {
        const size_t space = merge.text().find(' ');
        if (space != std::string::npos && merge.text().find(' ', space + 1) == std::string::npos) {
          left = std::string_view(merge.text()).substr(0, space);
          right = std::string_view(merge.text()).substr(space + 1);
        }
      } else if (merge.is_array() && merge.size() == 2 && merge.items()[0].is_string() &&
                 merge.items()[1].is_string()) {
        left = merge.items()[0].text();
        right = merge.items()[1].text();
      }
      if (left.empty() || right.empty()) fail(Status::kCorrupt, "{}: expected a pair of tokens", merges.at(i).path());
      joined.assign(left).append(right);
      const int32_t l = merge_token(merges, i, left), r = merge_token(merges, i, right);
      const MergeTable::Merge result{static_cast<uint32_t>(i), merge_token(merges, i, joined)};
      if (!out_->merges_.insert(l, r, result)) {
        fail(Status::kCorrupt, "{}: \"{}\" \"{}\" is listed twice", merges.at(i).path(), shown(left), shown(right));
      }
      used[static_cast<size_t>(l)] = used[static_cast<size_t>(r)] = true;
      if (used[static_cast<size_t>(result.token)]) {
        fail(Status::kUnsupported, "{}: makes \"{}\", which an earlier merge uses", merges.at(i).path(), shown(joined));
      }
    }
  }

  void read_bytes(const JsonAt& vocab) {
    for (int b = 0; b < 256; ++b) {
      const auto it = ids_.find(alphabet_.encode(static_cast<uint8_t>(b)));
      if (it == ids_.end()) fail(Status::kCorrupt, "{}: no token for byte 0x{:02x}", vocab.path(), b);
      out_->byte_tokens_[static_cast<size_t>(b)] = it->second;
    }
  }

  void read_added(const JsonAt& list) {
    if (!list.present()) return;
    list.array();
    for (size_t i = 0; i < list.size(); ++i) add_token(list.at(i).object());
  }

  void add_token(const JsonAt& at) {
    const std::string& content = at.at("content").string();
    const int64_t id = at.at("id").integer(0, kIdLimit);
    if (content.empty()) fail(Status::kCorrupt, "{}.content: expected a text, found an empty string", at.path());
    if (content.size() > AddedTokens::kLengthLimit) {
      fail(Status::kUnsupported, "{}.content: {} bytes, at most {} are supported", at.path(), content.size(),
           AddedTokens::kLengthLimit);
    }
    const auto flag = [&](const char* key) { return at.at(key).present() && at.at(key).boolean(); };
    for (const char* key : {"single_word", "lstrip", "rstrip"}) {
      if (flag(key))
        fail(Status::kUnsupported, "{}.{} of \"{}\": true is not supported", at.path(), key, shown(content));
    }
    const auto known = ids_.find(content);
    if (known != ids_.end() && known->second != id) {
      fail(Status::kCorrupt, "{}: \"{}\" has id {} here and {} in the vocabulary", at.path(), shown(content), id,
           known->second);
    }
    std::string& bytes = slot(id);
    uint8_t& flags = out_->flags_[static_cast<size_t>(id)];
    if (known == ids_.end() && flags != 0) {
      fail(Status::kCorrupt, "{}: id {} of \"{}\" belongs to another token", at.path(), id, shown(content));
    }
    bytes = content;
    const bool special = flag("special") || protocol::is_control(content);
    flags = Tokenizer::kPresent | Tokenizer::kAdded | (special ? Tokenizer::kSpecial : 0);
    const bool twice = out_->raw_added_.find(content) >= 0 || out_->normalized_added_.find(content) >= 0;
    if (twice) fail(Status::kCorrupt, "{}: \"{}\" is listed twice", at.path(), shown(content));
    (flag("normalized") ? out_->normalized_added_ : out_->raw_added_).insert(content, static_cast<int32_t>(id));
  }

  void store() {
    size_t total = 0;
    for (const std::string& token : tokens_) total += token.size();
    out_->pool_.reserve(total);
    out_->offsets_.reserve(tokens_.size() + 1);
    out_->offsets_.push_back(0);
    for (const std::string& token : tokens_) {
      out_->pool_ += token;
      out_->offsets_.push_back(static_cast<uint32_t>(out_->pool_.size()));  // below the file's own size
    }
  }

  const std::string& name_;
  const ByteAlphabet alphabet_;
  std::unique_ptr<Tokenizer> out_;
  std::vector<std::string> tokens_;                    // bytes by id
  std::unordered_map<std::string_view, int32_t> ids_;  // by the vocabulary's own spelling; the text is the document's
};

std::unique_ptr<Tokenizer> Tokenizer::parse(std::string_view json, const std::string& name) {
  return TokenizerLoader(name).run(json);
}

std::unique_ptr<Tokenizer> Tokenizer::load(const std::string& path) { return parse(read_file(path, kFileLimit), path); }

}  // namespace dsv4
