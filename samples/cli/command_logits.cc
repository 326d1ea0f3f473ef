// dsv4 logits: F32 [T, vocab], little-endian, of every position of a token sequence, piece by piece to a file; on
// demand the MTP head's [T-1, vocab] beside it (row i of that file is position i + 1: position 0 has no draft).
#include <algorithm>
#include <bit>
#include <charconv>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "client.h"
#include "commands.h"
#include "model_flags.h"
#include "options.h"
#include "terminal.h"

namespace cli {
namespace {

static_assert(std::endian::native == std::endian::little, "the files are little-endian");

constexpr uint64_t kPieceBytes = 64 << 20;  // of logits held at once

std::vector<int32_t> read_ids(const std::string& path) {
  const std::string text = read_file(path);
  constexpr const char* kBlanks = " \t\r\n\v\f";
  std::vector<int32_t> ids;
  for (size_t begin = 0; (begin = text.find_first_not_of(kBlanks, begin)) != std::string::npos;) {
    const size_t end = std::min(text.find_first_of(kBlanks, begin), text.size());
    int32_t id = 0;
    const auto [stop, code] = std::from_chars(text.data() + begin, text.data() + end, id);
    if (code != std::errc() || stop != text.data() + end)
      throw Failure(DSV4_E_INVALID_ARGUMENT, path + ": item " + std::to_string(ids.size()) + ", '" +
                                                 text.substr(begin, std::min<size_t>(end - begin, 40)) +
                                                 "', is not a token id");
    ids.push_back(id);
    begin = end;
  }
  if (ids.empty()) throw Failure(DSV4_E_INVALID_ARGUMENT, path + ": holds no token ids");
  return ids;
}

struct LogitsFlags {
  std::string ids;
  std::string out;
  std::optional<std::string> draft;
  std::optional<uint64_t> chunk;
};

struct Pass {
  Progress progress{"computing", "tokens"};
  uint64_t before = 0;  // tokens of the pieces that are done
  uint64_t total = 0;
};

int32_t on_progress(void* user, uint64_t done, uint64_t) {
  auto* pass = static_cast<Pass*>(user);
  pass->progress.update(pass->before + done, pass->total);
  return interrupts() > 0;
}

uint64_t rows_at_once(const LogitsFlags& flags, uint64_t row_bytes) {
  const uint64_t fitting = std::max<uint64_t>(1, kPieceBytes / (flags.draft ? 2 * row_bytes : row_bytes));
  return flags.chunk ? std::min(*flags.chunk, fitting) : fitting;
}

void write_logits(dsv4_session* session, const std::vector<int32_t>& ids, size_t vocab, const LogitsFlags& flags) {
  OutputFile out(flags.out);
  std::optional<OutputFile> draft_out;
  if (flags.draft) draft_out.emplace(*flags.draft);

  const size_t rows = std::min<size_t>(ids.size(), rows_at_once(flags, vocab * sizeof(float)));
  std::vector<float> logits(rows * vocab);
  std::vector<float> draft(flags.draft ? rows * vocab : 0);
  Pass pass;
  pass.total = ids.size();
  dsv4_eval_options options = DSV4_EVAL_OPTIONS_INIT;
  options.logits = logits.data();
  options.draft_logits = flags.draft ? draft.data() : nullptr;
  options.progress = on_progress;
  options.progress_user = &pass;
  for (size_t first = 0; first < ids.size(); first += rows) {
    const size_t count = std::min(rows, ids.size() - first);
    pass.before = first;
    check([&](dsv4_error** error) { return dsv4_session_eval(session, ids.data() + first, count, &options, error); });
    out.write(logits.data(), count * vocab * sizeof(float));
    const size_t missing = first == 0 ? 1 : 0;
    if (draft_out) draft_out->write(draft.data() + missing * vocab, (count - missing) * vocab * sizeof(float));
  }
  if (draft_out) draft_out->commit();
  out.commit();
}

}  // namespace

void command_logits(const Arguments& arguments) {
  ModelFlags model_flags;
  LogitsFlags flags;
  Options options("logits", "MODEL --ids FILE --out FILE [options]",
                  "Writes the logits of every position of a token sequence: little-endian float32 [T, vocab]. The "
                  "checkpoint needs no tokenizer. A file appears under its name only when it is whole.");
  options.required("MODEL", model_flags.folder);
  options.text("--ids", "FILE", "token ids, separated by blanks (required)", flags.ids);
  options.text("--out", "FILE", "the logits (required)", flags.out);
  options.integer("--chunk", "N",
                  "evaluate N tokens at a time, 1: token by token (default: as many as their logits fit into 64 MiB, "
                  "which is also the most)",
                  1, INT32_MAX, flags.chunk);
  options.text("--draft", "FILE", "also the logits of the MTP head: [T-1, vocab], positions 1 to T-1", flags.draft);
  add_machine_flags(options, model_flags);
  if (!options.parse(arguments)) return;
  if (flags.ids.empty()) throw UsageError("--ids is missing");
  if (flags.out.empty()) throw UsageError("--out is missing");
  if (flags.draft == flags.out) throw UsageError("--out and --draft name the same file");

  const std::vector<int32_t> ids = read_ids(flags.ids);
  const Model model = open_model(model_flags);
  const auto vocab = static_cast<size_t>(model_info(model.get()).vocab);
  dsv4_session_options session_options = DSV4_SESSION_OPTIONS_INIT;
  session_options.context = ids.size();
  session_options.flags = flags.draft ? DSV4_SESSION_DRAFT : 0;
  session_options.prefill_chunk = static_cast<int32_t>(flags.chunk.value_or(0));
  const Session session = create_session(model.get(), session_options);
  write_logits(session.get(), ids, vocab, flags);
}

}  // namespace cli
