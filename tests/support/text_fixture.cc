#include "tests/support/text_fixture.h"

#include <memory>

#include <zstd.h>

#include "lib/base/file_map.h"

namespace dsv4::text_test {

std::string data_file(const std::string& name) {
  return read_file(std::string(DSV4_TEST_DATA) + "/" + name, 64u << 20);
}

std::vector<Json> json_lines(const std::string& name) {
  const std::string text = data_file(name);
  std::vector<Json> out;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    if (end > at) out.push_back(parse_json(std::string_view(text).substr(at, end - at), name, Status::kCorrupt));
    at = end + 1;
  }
  return out;
}

const std::string& real_tokenizer_json() {
  static const std::string json = [] {
    const std::string packed = data_file("fixtures/tokenizer/tokenizer.json.zst");
    std::string out(16u << 20, '\0');
    const size_t size = ZSTD_decompress(out.data(), out.size(), packed.data(), packed.size());
    REQUIRE_FALSE(ZSTD_isError(size));
    out.resize(size);
    return out;
  }();
  return json;
}

const Tokenizer& real_tokenizer() {
  static const std::unique_ptr<Tokenizer> tokenizer = Tokenizer::parse(real_tokenizer_json(), "tokenizer.json");
  return *tokenizer;
}

const Tokenizer& tiny_tokenizer() {
  static const std::unique_ptr<Tokenizer> tokenizer =
      Tokenizer::load(std::string(DSV4_SOURCE_DIR) + "/samples/models/tiny/tokenizer.json");
  return *tokenizer;
}

std::vector<int32_t> int_list(const Json& array) {
  std::vector<int32_t> out;
  for (const Json& item : array.items()) out.push_back(static_cast<int32_t>(std::stol(item.text())));
  return out;
}

}  // namespace dsv4::text_test
