// Reading and checking a safetensors header. See safetensors.h.
#include "lib/checkpoint/safetensors.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "lib/base/error.h"
#include "lib/checkpoint/json_reader.h"

namespace dsv4 {
namespace {

struct TypeInfo {
  const char* name;
  int bits;
};
// In the order of StoredType. The shape of an F4 or F6 tensor counts elements, not bytes.
constexpr TypeInfo kTypes[static_cast<size_t>(StoredType::kCount)] = {
    {"BOOL", 8}, {"U8", 8},    {"I8", 8},    {"U16", 16},  {"I16", 16},    {"U32", 32},    {"I32", 32},
    {"U64", 64}, {"I64", 64},  {"F16", 16},  {"BF16", 16}, {"F32", 32},    {"F64", 64},    {"C64", 64},
    {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F4", 4}, {"F6_E2M3", 6}, {"F6_E3M2", 6}};

// Reads one tensor's object. Errors of form come from the reader (file and byte), errors of meaning name the tensor.
class EntryReader {
 public:
  EntryReader(JsonReader& json, std::string_view file, SafetensorsEntry& entry)
      : json_(json), file_(file), entry_(entry) {}

  void read() {
    std::string_view key;
    if (json_.kind() != JsonReader::Kind::kObject) corrupt("an object expected");
    json_.enter_object();
    while (json_.next_key(key)) {
      if (key == "dtype") {
        once(kDtype, "dtype");
        read_type();
      } else if (key == "shape") {
        once(kShape, "shape");
        read_shape();
      } else if (key == "data_offsets") {
        once(kOffsets, "data_offsets");
        read_offsets();
      } else {
        corrupt("dtype, shape and data_offsets expected, another key found");
      }
    }
    if (seen_ != (kDtype | kShape | kOffsets)) corrupt("dtype, shape and data_offsets expected, not all found");
  }

 private:
  enum Seen : unsigned { kDtype = 1, kShape = 2, kOffsets = 4 };

  [[noreturn]] void corrupt(const char* what) const {
    fail(Status::kCorrupt, "{}: tensor {}: {}", file_, entry_.name, what);
  }
  void once(unsigned bit, const char* key) {
    if ((seen_ & bit) != 0) fail(Status::kCorrupt, "{}: tensor {}: {} given twice", file_, entry_.name, key);
    seen_ |= bit;
  }
  int64_t natural(const char* what) {
    int64_t value = 0;
    if (json_.kind() != JsonReader::Kind::kNumber) corrupt(what);
    const std::string_view text = json_.number();
    if (!parse_integer(text, value) || value < 0) {
      fail(Status::kCorrupt, "{}: tensor {}: {}, {} found", file_, entry_.name, what, printable(text));
    }
    return value;
  }
  void read_type() {
    if (json_.kind() != JsonReader::Kind::kString) corrupt("dtype: a string expected");
    const std::string_view name = json_.string();
    for (size_t i = 0; i < static_cast<size_t>(StoredType::kCount); ++i) {
      if (name == kTypes[i].name) {
        entry_.type = static_cast<StoredType>(i);
        return;
      }
    }
    fail(Status::kCorrupt, "{}: tensor {}: unknown dtype {}", file_, entry_.name, printable(name));
  }
  void read_shape() {
    if (json_.kind() != JsonReader::Kind::kArray) corrupt("shape: an array expected");
    json_.enter_array();
    while (json_.next_item()) {
      if (entry_.rank == SafetensorsEntry::kMaxRank) corrupt("shape: at most 8 dimensions expected");
      entry_.shape[entry_.rank++] = natural("shape: integers of at least 0 expected");
    }
  }
  void read_offsets() {
    constexpr const char* kWhat = "data_offsets: two integers of at least 0 expected";
    if (json_.kind() != JsonReader::Kind::kArray) corrupt(kWhat);
    json_.enter_array();
    uint64_t* out[] = {&entry_.begin, &entry_.end};
    for (uint64_t* o : out) {
      if (!json_.next_item()) corrupt(kWhat);
      *o = static_cast<uint64_t>(natural(kWhat));
    }
    if (json_.next_item()) corrupt(kWhat);
  }

  JsonReader& json_;
  std::string_view file_;
  SafetensorsEntry& entry_;
  unsigned seen_ = 0;
};

// Bytes that type and shape call for; false when the product leaves 64 bits or ends inside a byte.
bool shape_bytes(const SafetensorsEntry& entry, uint64_t& bytes) {
  constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
  uint64_t count = 1;
  for (int i = 0; i < entry.rank; ++i) {
    if (entry.shape[i] == 0) {
      bytes = 0;  // however large the other dimensions are
      return true;
    }
  }
  for (int i = 0; i < entry.rank; ++i) {
    const auto n = static_cast<uint64_t>(entry.shape[i]);
    if (count > kMax / n) return false;
    count *= n;
  }
  const auto bits = static_cast<uint64_t>(stored_type_bits(entry.type));
  if (count > kMax / bits || count * bits % 8 != 0) return false;
  bytes = count * bits / 8;
  return true;
}

void check_extent(const SafetensorsEntry& entry, uint64_t data_size, std::string_view file) {
  if (entry.begin > entry.end || entry.end > data_size) {
    fail(Status::kCorrupt, "{}: tensor {}: data_offsets [{}, {}] leave the file's {} bytes of data", file, entry.name,
         entry.begin, entry.end, data_size);
  }
  uint64_t bytes = 0;
  if (!shape_bytes(entry, bytes)) {
    fail(Status::kCorrupt, "{}: tensor {}: shape {} of {} is not a whole number of bytes below 2^63", file, entry.name,
         shape_text(entry), stored_type_name(entry.type));
  }
  if (bytes != entry.end - entry.begin) {
    fail(Status::kCorrupt, "{}: tensor {}: {} bytes expected for {} {}, {} found", file, entry.name, bytes,
         stored_type_name(entry.type), shape_text(entry), entry.end - entry.begin);
  }
}

void check_names(const std::vector<SafetensorsEntry>& entries, std::vector<uint32_t>& by_name, std::string_view file) {
  by_name.resize(entries.size());
  std::iota(by_name.begin(), by_name.end(), 0u);
  const auto less = [&](uint32_t a, uint32_t b) { return entries[a].name < entries[b].name; };
  // Writers sort by type and then by name, so this is mostly merging; sorting, unlike hashing, has no bad input.
  std::sort(by_name.begin(), by_name.end(), less);
  for (size_t i = 1; i < by_name.size(); ++i) {
    if (entries[by_name[i]].name == entries[by_name[i - 1]].name) {
      fail(Status::kCorrupt, "{}: tensor {}: two tensors of this name", file, entries[by_name[i]].name);
    }
  }
}

void check_overlap(const std::vector<SafetensorsEntry>& entries, std::string_view file) {
  std::vector<uint32_t> order;
  order.reserve(entries.size());
  for (uint32_t i = 0; i < entries.size(); ++i) {
    if (entries[i].begin != entries[i].end) order.push_back(i);
  }
  const auto less = [&](uint32_t a, uint32_t b) { return entries[a].begin < entries[b].begin; };
  if (!std::is_sorted(order.begin(), order.end(), less)) std::sort(order.begin(), order.end(), less);
  for (size_t i = 1; i < order.size(); ++i) {
    const SafetensorsEntry& a = entries[order[i - 1]];
    const SafetensorsEntry& b = entries[order[i]];
    if (b.begin < a.end) {
      fail(Status::kCorrupt, "{}: tensor {}: its bytes [{}, {}] overlap those of {}, [{}, {}]", file, b.name, b.begin,
           b.end, a.name, a.begin, a.end);
    }
  }
}

}  // namespace

bool plain_tensor_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxTensorName && std::none_of(name.begin(), name.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  });
}

const char* stored_type_name(StoredType type) { return kTypes[static_cast<size_t>(type)].name; }
int stored_type_bits(StoredType type) { return kTypes[static_cast<size_t>(type)].bits; }

std::string shape_text(const SafetensorsEntry& entry) {
  std::string text = "[";
  for (int i = 0; i < entry.rank; ++i) text += fmt::format("{}{}", i == 0 ? "" : ", ", entry.shape[i]);
  return text + "]";
}

std::vector<SafetensorsEntry> parse_safetensors_header(std::string_view header, uint64_t data_size,
                                                       std::string_view file, std::vector<uint32_t>& by_name,
                                                       std::vector<std::unique_ptr<std::string>>& escaped) {
  std::vector<SafetensorsEntry> entries;
  JsonReader json(header, file);
  std::string_view name;
  if (json.kind() != JsonReader::Kind::kObject) json.error("an object expected");
  json.enter_object();
  while (json.next_key(name)) {
    if (name == "__metadata__") {
      if (json.kind() != JsonReader::Kind::kObject) json.error("__metadata__: an object expected");
      json.skip();
      continue;
    }
    if (!plain_tensor_name(name)) json.error("a tensor name of 1 to 1024 bytes without control characters expected");
    if (!json.in_text(name)) name = *escaped.emplace_back(std::make_unique<std::string>(name));
    SafetensorsEntry entry;
    entry.name = name;
    EntryReader(json, file, entry).read();
    check_extent(entry, data_size, file);
    entries.push_back(entry);
  }
  json.finish();
  check_names(entries, by_name, file);
  check_overlap(entries, file);
  return entries;
}

SafetensorsFile::SafetensorsFile(const std::string& path) : map_(path) {
  map_.advise(FileMap::Access::kRandom);  // the header, and not the megabytes of weights behind it
  if (map_.size() < 8) fail(Status::kCorrupt, "{}: {} bytes, a header length of 8 expected", path, map_.size());
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | map_.data()[i];
  if (length > map_.size() - 8) {
    fail(Status::kCorrupt, "{}: header length {}, {} bytes follow it", path, length, map_.size() - 8);
  }
  if (length > kMaxHeader) {
    fail(Status::kCorrupt, "{}: header length {}, at most {} expected", path, length, kMaxHeader);
  }
  data_begin_ = 8 + length;
  map_.prefetch(0, data_begin_);
  const std::string_view header(reinterpret_cast<const char*>(map_.data()) + 8, length);
  entries_ = parse_safetensors_header(header, map_.size() - data_begin_, path, by_name_, escaped_);
  map_.advise(FileMap::Access::kNormal);
}

const SafetensorsEntry* SafetensorsFile::find(std::string_view name) const {
  const auto at = std::lower_bound(by_name_.begin(), by_name_.end(), name,
                                   [&](uint32_t i, std::string_view n) { return entries_[i].name < n; });
  return at != by_name_.end() && entries_[*at].name == name ? &entries_[*at] : nullptr;
}

}  // namespace dsv4
