// Opening a folder: config, index, shard headers; then every tensor that the table calls for is found, checked and
// bound to its bytes in the mapping. See checkpoint.h for what is read and what is not.
#include "lib/checkpoint/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "lib/base/error.h"
#include "lib/checkpoint/loaded_checkpoint.h"
#include "lib/checkpoint/shard_index.h"

namespace dsv4 {
namespace {

constexpr size_t kMaxConfig = 4u << 20;
constexpr uint64_t kMaxCopies = uint64_t{4} << 30;

// Where a tensor was found.
struct Location {
  const SafetensorsEntry* entry = nullptr;
  const SafetensorsFile* file = nullptr;
};
struct Found {
  Location data, scale;
};

bool to_dtype(StoredType type, Format format, DType& dtype) {
  switch (type) {
    case StoredType::kF32: dtype = DType::kF32; return true;
    case StoredType::kBF16: dtype = DType::kBF16; return true;
    case StoredType::kF8E4M3: dtype = DType::kF8E4M3; return true;
    case StoredType::kI32: dtype = DType::kI32; return true;
    case StoredType::kI64: dtype = DType::kI64; return true;
    // FP4 is published as bytes of two; F4 is the name that the file format has since given it.
    case StoredType::kI8:
    case StoredType::kU8:
    case StoredType::kF4: dtype = DType::kFP4; return format == Format::kExpert;
    default: return false;
  }
}

// Number formats that somebody may well use, only not here; anything else in a weight's place is damage.
bool is_float(StoredType type) {
  switch (type) {
    case StoredType::kF16: case StoredType::kBF16: case StoredType::kF32: case StoredType::kF64:
    case StoredType::kF8E4M3: case StoredType::kF8E5M2: case StoredType::kF4: case StoredType::kF6E2M3:
    case StoredType::kF6E3M2: return true;
    default: return false;
  }
}

class FolderReader {
 public:
  FolderReader(const std::string& folder, const OpenOptions& options)
      : options_(options), out_(std::make_unique<LoadedCheckpoint>()) {
    out_->folder_ = folder;
  }

  std::unique_ptr<Checkpoint> read() {
    const std::string path = join_path(out_->folder_, "config.json");
    out_->config_ = parse_config(read_file(path, kMaxConfig), path, options_.text_only);
    open_shards();
    check_index();
    place_entries();
    drop_missing_mtp();
    out_->tensors_ = TensorSlots<Tensor>(config());
    for_each_tensor(config(), [&](const TableRow& row, int64_t layer, int64_t expert) { bind(row, layer, expert); });
    out_->finish(options_.verify);
    report();
    return std::move(out_);
  }

 private:
  Config& config() { return out_->config_; }

  void note(std::string text) {
    if (options_.note) options_.note(text);
    out_->notes_.push_back(std::move(text));
  }

  void open_shards() {
    index_ = read_shard_index(out_->folder_);
    out_->shards_.reserve(index_.shards.size());
    uint64_t done = 0;
    for (const std::string& name : index_.shards) {
      const std::string path = join_path(out_->folder_, name);
      if (!index_.path.empty() && !file_exists(path)) {
        fail(Status::kNotFound, "{}: shard {}: expected beside it, not found", index_.path, name);
      }
      out_->shards_.emplace_back(path);
      done += out_->shards_.back().entries().size();
      const uint64_t total = index_.path.empty() ? done : std::max<uint64_t>(done, index_.entries.size());
      if (options_.progress && !options_.progress(done, total)) {
        fail(Status::kCancelled, "{}: opening was cancelled", out_->folder_);
      }
    }
  }

  // Every tensor of the index is in the shard that it names, once.
  void check_index() {
    std::vector<std::vector<bool>> listed;
    for (const SafetensorsFile& file : out_->shards_) listed.emplace_back(file.entries().size());
    for (const ShardIndex::Entry& e : index_.entries) {
      const SafetensorsFile& file = out_->shards_[e.shard];
      const SafetensorsEntry* entry = file.find(e.name);
      if (entry == nullptr) {
        fail(Status::kCorrupt, "{}: tensor {}: expected in shard {}, not found there", index_.path, e.name,
             index_.shards[e.shard]);
      }
      const auto number = static_cast<size_t>(entry - file.entries().data());
      if (listed[e.shard][number]) fail(Status::kCorrupt, "{}: tensor {}: listed twice", index_.path, e.name);
      listed[e.shard][number] = true;
    }
  }

  void place_entries() {
    found_ = TensorSlots<Found>(config());
    for (const SafetensorsFile& file : out_->shards_) {
      for (const SafetensorsEntry& entry : file.entries()) {
        const ParsedName name = parse_tensor_name(entry.name, config());
        if (name.kind != NameKind::kTensor) {
          if (name.kind == NameKind::kUnknown && unknown_++ == 0) first_unknown_ = entry.name;
          if (name.kind == NameKind::kDraft) ++drafts_;
          continue;
        }
        if (name.layer >= config().layers) has_mtp_ = true;
        Found* found = found_.find(name.role, name.layer, name.expert);
        Location& place = name.scale ? found->scale : found->data;
        if (place.entry != nullptr) {
          fail(Status::kCorrupt, "{}: tensor {}: there already, as {} in {}", file.path(), entry.name,
               place.entry->name, place.file->path());
        }
        place = {&entry, &file};
      }
    }
  }

  // Fine-tunes are often uploaded without the draft head, their config untouched.
  void drop_missing_mtp() {
    if (config().mtp_layers == 0 || has_mtp_) return;
    config().mtp_layers = 0;
    config().ratios.resize(static_cast<size_t>(config().layers));
    note("MTP head: named in config.json, not in the shards");
  }

  void bind(const TableRow& row, int64_t layer, int64_t expert) {
    const Found& found = *found_.find(row.role, layer, expert);
    const auto name = [&](bool scale) { return tensor_name(row, config(), layer, expert, scale); };
    if (found.data.entry == nullptr) missing(name(false));
    const SafetensorsEntry& entry = *found.data.entry;
    Tensor t;
    if (!to_dtype(entry.type, row.format, t.dtype) || !accepts(row, t.dtype)) {
      const Status status = is_float(entry.type) ? Status::kUnsupported : Status::kCorrupt;
      fail(status, "{}: tensor {}: dtype {} expected, {} found", found.data.file->path(), entry.name,
           accepted_formats(row), stored_type_name(entry.type));
    }
    t.rows = row.rows(config(), layer);
    t.cols = row.cols(config(), layer);
    const bool pairs = t.dtype == DType::kFP4 && entry.type != StoredType::kF4;
    check_shape(found.data, row.rank, t.rows, pairs ? t.cols / 2 : t.cols);
    t.data = bytes_of(found.data, static_cast<size_t>(dtype_bits(t.dtype)) / 8);
    t.bytes = data_bytes(t.dtype, t.rows, t.cols);
    if (has_scale(t.dtype)) {
      if (found.scale.entry == nullptr) missing(name(true));
      bind_scale(t, row, found);
    }
    *out_->tensors_.find(row.role, layer, expert) = t;
  }

  void bind_scale(Tensor& t, const TableRow& row, const Found& found) {
    const SafetensorsEntry& entry = *found.scale.entry;
    // Rows are quantised in blocks of 128; the published program refuses others too.
    if (row.format != Format::kPlainA && t.cols % 128 != 0) {
      fail(Status::kUnsupported, "{}: tensor {}: {} columns; a quantised weight needs a multiple of 128",
           found.data.file->path(), found.data.entry->name, t.cols);
    }
    if (entry.type != StoredType::kF8E8M0 && entry.type != StoredType::kU8) {
      fail(is_float(entry.type) ? Status::kUnsupported : Status::kCorrupt,
           "{}: tensor {}: dtype F8_E8M0 expected, {} found", found.scale.file->path(), entry.name,
           stored_type_name(entry.type));
    }
    check_shape(found.scale, 2, scale_rows(t.dtype, t.rows), scale_cols(t.dtype, t.cols));
    t.scale = bytes_of(found.scale, 1);
    t.bytes += scale_bytes(t.dtype, t.rows, t.cols);
  }

  [[noreturn]] void missing(const std::string& name) {
    if (index_.path.empty()) {
      fail(Status::kCorrupt, "{}: tensor {}: expected, not found", out_->shards_[0].path(), name);
    }
    fail(Status::kCorrupt, "{}: tensor {}: expected, found in none of the {} shards", index_.path, name,
         index_.shards.size());
  }

  void check_shape(const Location& place, int rank, int64_t rows, int64_t cols) {
    const SafetensorsEntry& e = *place.entry;
    const bool same =
        rank == 1 ? e.rank == 1 && e.shape[0] == cols : e.rank == 2 && e.shape[0] == rows && e.shape[1] == cols;
    if (same) return;
    const std::string expected = rank == 1 ? fmt::format("[{}]", cols) : fmt::format("[{}, {}]", rows, cols);
    fail(Status::kCorrupt, "{}: tensor {}: shape {} expected by config.json, {} found", place.file->path(), e.name,
         expected, shape_text(e));
  }

  // Writers align what they write; a tensor that lies askew is copied, since nobody may read a float from there.
  const uint8_t* bytes_of(const Location& place, size_t alignment) {
    const uint8_t* data = place.file->data(*place.entry);
    if (alignment <= 1 || reinterpret_cast<uintptr_t>(data) % alignment == 0) return data;
    const uint64_t size = place.entry->end - place.entry->begin;
    copied_ += size;
    if (copied_ > kMaxCopies) {
      fail(Status::kUnsupported, "{}: tensor {}: not aligned to its elements, nor is much else", place.file->path(),
           place.entry->name);
    }
    ++copies_;
    uint8_t* copy = room_for(size);
    std::memcpy(copy, data, size);
    return copy;
  }

  uint8_t* room_for(uint64_t size) {
    constexpr uint64_t kChunk = 16u << 20, kAlign = 16;
    if (size > room_) {
      room_ = std::max(kChunk, size);
      next_ = out_->memory_.emplace_back(room_).data();
    }
    const uint64_t taken = std::min(room_, (size + kAlign - 1) / kAlign * kAlign);
    room_ -= taken;
    return std::exchange(next_, next_ + taken);
  }

  void report() {
    if (config().dspark) note("drafter: DSpark, not used");
    if (config().vision) note("vision: not used, text only");
    if (drafts_ != 0 && !config().dspark) note(fmt::format("mtp.*: {} tensors not used", drafts_));
    if (unknown_ != 0)
      note(fmt::format("{} tensors of the shards are not used; the first is {}", unknown_, first_unknown_));
    if (copies_ != 0) note(fmt::format("{} tensors are not aligned in their file; copied, {} bytes", copies_, copied_));
  }

  const OpenOptions& options_;
  std::unique_ptr<LoadedCheckpoint> out_;
  ShardIndex index_;
  TensorSlots<Found> found_;
  bool has_mtp_ = false;
  uint64_t unknown_ = 0, drafts_ = 0, copies_ = 0, copied_ = 0;
  std::string first_unknown_;
  uint8_t* next_ = nullptr;  // free room in the newest piece of memory for copies
  uint64_t room_ = 0;
};

}  // namespace

std::unique_ptr<Checkpoint> Checkpoint::open(const std::string& folder, const OpenOptions& options) {
  return FolderReader(folder, options).read();
}

}  // namespace dsv4
