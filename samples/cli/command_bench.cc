// dsv4 bench: decode and prefill speed at a context depth, beside what memory can deliver.
//
// Decoding is bound by reading weights, so its speed is also given as GB/s of the weights that one token needs, and as
// a percentage of a bandwidth probe with the same threads. Probe and decode runs alternate, so that whatever else the
// machine does in the meantime meets both. What is reported is the best run of each: disturbances only ever slow down.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "batch.h"
#include "client.h"
#include "commands.h"
#include "model_flags.h"
#include "options.h"
#include "probe.h"
#include "runs.h"
#include "terminal.h"
#include "verb_table.h"

namespace cli {
namespace {

constexpr size_t kDecodeRuns = 7;
constexpr size_t kPrefillRuns = 3;
constexpr size_t kBatchRuns = 3;
constexpr size_t kWarmUpTokens = 2;
constexpr size_t kProbePasses = 2;  // before every decode run
constexpr size_t kProbeBytes = size_t{1} << 30;
constexpr uint64_t kDefaultDepth = 4096;

struct BenchFlags {
  std::optional<std::string> folder;
  std::string shape;
  std::optional<uint64_t> layers;
  std::optional<uint64_t> context;
  uint64_t prompt = 512;
  uint64_t tokens = 16;
  uint64_t batch = 1;
  bool by_verb = false;
  bool json = false;
};

struct Result {
  Runs decode;                // tokens/s
  Runs prefill;               // tokens/s
  Runs peak;                  // GFLOP/s of a matrix product in caches; none where the backend has none
  Runs probe;                 // GB/s
  bool device_probe = false;  // a copy of the device's memory, not reads of the host's
  Runs batch;                 // tokens/s of --batch sessions together
  Runs alone;                 // tokens/s of one that generates in the same way, in between

  VerbTable decode_verbs, prefill_verbs, batch_verbs;

  double batch_ratio() const { return batch.median() / alone.median(); }
  double prefill_gflops() const { return 2e-9 * prefill_verbs.multiply_adds_per_s(); }  // with --by-verb, else 0
};

int32_t on_progress(void* user, uint64_t done, uint64_t total) {
  static_cast<Progress*>(user)->update(done, total);
  return interrupts() > 0;
}

// A session fed with random token ids, so that hash-routed layers too spread over all their experts.
class Feeder {
 public:
  Feeder(dsv4_model* model, uint64_t context, int64_t vocab) : id_(0, static_cast<int32_t>(vocab - 1)) {
    dsv4_session_options options = DSV4_SESSION_OPTIONS_INIT;
    options.context = context;
    session_ = create_session(model, options);
  }

  void pretend(uint64_t depth) {
    check([&](dsv4_error** error) { return dsv4_session_pretend(session_.get(), depth, error); });
  }

  // Evaluates `count` tokens in one call; returns the seconds that took.
  double feed(size_t count, const char* what) {
    std::vector<int32_t> ids(count);
    for (int32_t& id : ids) id = id_(random_);
    Progress progress(what, "tokens");
    dsv4_eval_options options = DSV4_EVAL_OPTIONS_INIT;
    options.progress = on_progress;
    options.progress_user = &progress;
    const auto start = std::chrono::steady_clock::now();
    check(
        [&](dsv4_error** error) { return dsv4_session_eval(session_.get(), ids.data(), ids.size(), &options, error); });
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  // One token at a time; returns the seconds that took.
  double decode(size_t count) {
    double seconds = 0;
    for (size_t i = 0; i < count; ++i) seconds += feed(1, "decode");
    return seconds;
  }

  const Session& session() const { return session_; }

 private:
  Session session_;
  std::mt19937 random_{1};
  std::uniform_int_distribution<int32_t> id_;
};

uint64_t tokens_measured(const BenchFlags& flags) {
  const uint64_t batch = kBatchWarmUpTokens + flags.tokens;  // in forks, before the prefill
  return kWarmUpTokens + kDecodeRuns * flags.tokens + std::max((kPrefillRuns + 1) * flags.prompt, batch);
}

// --context, or as deep as the default where the model holds that much.
uint64_t depth_of(const BenchFlags& flags, const dsv4_model_info& info) {
  if (flags.context) return *flags.context;
  const uint64_t measured = tokens_measured(flags);
  return std::min(kDefaultDepth, info.max_context > measured ? info.max_context - measured : 0);
}

// Runs `body`, which returns its seconds (or 0), and puts what verbs cost meanwhile into `table`.
template <class Body>
double watch(dsv4_model* model, const BenchFlags& flags, VerbTable& table, Body&& body) {
  if (flags.by_verb) clear_verb_times(model);
  const double seconds = body();
  if (flags.by_verb) table.add(model, seconds);
  return seconds;
}

void measure_batch(dsv4_model* model, const Feeder& feeder, const dsv4_model_info& info, const BenchFlags& flags,
                   Result& result) {
  Progress progress("batch", "runs");
  for (size_t run = 0; run < kBatchRuns; ++run) {
    progress.update(2 * run, 2 * kBatchRuns);
    result.alone.values.push_back(decode_together(feeder.session(), info, 1, flags.tokens));
    progress.update(2 * run + 1, 2 * kBatchRuns);
    watch(model, flags, result.batch_verbs, [&] {
      result.batch.values.push_back(decode_together(feeder.session(), info, flags.batch, flags.tokens));
      return 0.0;  // the sessions' first tokens are in it, of which some are generated alone
    });
  }
}

// What decode is measured against: how fast the model's device copies its memory, or threads read the host's.
class MemoryProbe {
 public:
  MemoryProbe(dsv4_model* model, size_t threads) : model_(model) {
    if (device_gb_per_s() == 0) host_.emplace(kProbeBytes, threads);
  }
  bool on_device() const { return !host_; }
  void run(std::vector<double>& out) {
    if (host_) {
      host_->run(kProbePasses, out);
    } else {
      out.push_back(device_gb_per_s());
    }
  }

 private:
  double device_gb_per_s() const {
    double bytes_per_s = 0;
    check([&](dsv4_error** error) {
      const dsv4_status status = dsv4_model_copy_peak(model_, &bytes_per_s, error);
      return status == DSV4_E_UNSUPPORTED ? DSV4_OK : status;  // the host's memory is the backend's
    });
    return bytes_per_s / 1e9;
  }

  dsv4_model* model_;
  std::optional<BandwidthProbe> host_;
};

// In between the runs of prefill, as the memory probe between those of decode.
void measure_peak(dsv4_model* model, Result& result) {
  double multiply_adds = 0;
  check([&](dsv4_error** error) {
    const dsv4_status status = dsv4_model_matrix_peak(model, &multiply_adds, error);
    return status == DSV4_E_UNSUPPORTED ? DSV4_OK : status;  // none of this backend
  });
  if (multiply_adds > 0) result.peak.values.push_back(2e-9 * multiply_adds);
}

Result measure(dsv4_model* model, const dsv4_model_info& info, const BenchFlags& flags, uint64_t depth,
               size_t threads) {
  Feeder feeder(model, depth + tokens_measured(flags), info.vocab);
  if (depth > 0) {
    if (flags.folder)
      feeder.feed(depth, "filling the context");
    else
      feeder.pretend(depth);
  }
  feeder.decode(kWarmUpTokens);
  Result result;
  {
    MemoryProbe probe(model, threads);
    result.device_probe = probe.on_device();
    for (size_t run = 0; run < kDecodeRuns; ++run) {
      probe.run(result.probe.values);
      const double seconds = watch(model, flags, result.decode_verbs, [&] { return feeder.decode(flags.tokens); });
      result.decode.values.push_back(static_cast<double>(flags.tokens) / seconds);
    }
  }
  if (flags.batch > 1) measure_batch(model, feeder, info, flags, result);
  feeder.feed(flags.prompt, "prefill");  // to warm up
  for (size_t run = 0; run < kPrefillRuns; ++run) {
    measure_peak(model, result);
    const double seconds =
        watch(model, flags, result.prefill_verbs, [&] { return feeder.feed(flags.prompt, "prefill"); });
    result.prefill.values.push_back(static_cast<double>(flags.prompt) / seconds);
  }
  return result;
}

// "avx512-bf16" of "cpu: avx512-bf16, 2 threads, oneDNN 3.2"; of other backends the name: "reference".
std::string isa_of(const std::string& backend) {
  const std::string name = backend.substr(0, backend.find(':'));
  if (name != "cpu" || name.size() == backend.size()) return name;
  const size_t begin = name.size() + 2;
  return backend.substr(begin, backend.find(',', begin) - begin);
}

void print_json(const Result& result, const dsv4_model_info& info, const BenchFlags& flags, uint64_t depth,
                size_t threads) {
  const double gigabytes = static_cast<double>(info.token_weight_bytes) / 1e9;
  nlohmann::ordered_json line;
  line["decode_tokens_per_s"] = result.decode.best();
  line["prefill_tokens_per_s"] = result.prefill.best();
  line["weight_bytes_per_token"] = info.token_weight_bytes;
  line["decode_gb_per_s"] = result.decode.best() * gigabytes;
  line["probe_gb_per_s"] = result.probe.best();
  line["decode_percent_of_probe"] = 100 * result.decode.best() * gigabytes / result.probe.best();
  line["threads"] = threads;
  line["isa"] = isa_of(info.backend);
  line["layers"] = info.layers;
  line["context"] = depth;
  if (!result.peak.values.empty()) {
    line["matrix_peak_gflops"] = result.peak.best();
    if (flags.by_verb) line["prefill_gflops"] = result.prefill_gflops();
  }
  if (flags.batch > 1) {
    line["batch"] = flags.batch;
    line["batch_tokens_per_s"] = result.batch.best();
    line["batch_against_one"] = result.batch_ratio();
  }
  write_standard_output(line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

void print_text(const Result& result, const dsv4_model_info& info, const BenchFlags& flags, uint64_t depth,
                size_t threads) {
  const double gigabytes = static_cast<double>(info.token_weight_bytes) / 1e9;
  const auto percent = [&](double decode, double probe) { return 100 * decode * gigabytes / probe; };
  std::printf("%s; %lld layer%s; %zu thread%s\n", info.backend, static_cast<long long>(info.layers),
              info.layers == 1 ? "" : "s", threads, threads == 1 ? "" : "s");
  std::printf("weights %s; one token reads %s; context depth %s\n\n", bytes_text(info.weight_bytes).c_str(),
              bytes_text(info.token_weight_bytes).c_str(), with_thousands(depth).c_str());
  std::printf("%-34s%10s%10s\n", "", "best", "median");
  const auto row = [](const std::string& name, double best, double median, const char* unit) {
    std::printf("%-34s%10.2f%10.2f  %s\n", name.c_str(), best, median, unit);
  };
  row("decode, " + std::to_string(kDecodeRuns) + " runs of " + std::to_string(flags.tokens), result.decode.best(),
      result.decode.median(), "tokens/s");
  row("  weights read", result.decode.best() * gigabytes, result.decode.median() * gigabytes, "GB/s");
  row(result.device_probe ? "  device copy probe" : "  memory read probe", result.probe.best(), result.probe.median(),
      "GB/s");
  row("  of the probe", percent(result.decode.best(), result.probe.best()),
      percent(result.decode.median(), result.probe.median()), "%");
  if (flags.batch > 1) {
    row("decode, " + std::to_string(flags.batch) + " sessions together", result.batch.best(), result.batch.median(),
        "tokens/s");
    row("  one alone, in between", result.alone.best(), result.alone.median(), "tokens/s");
    std::printf("%-34s%10s%10.2f  x\n", "  against one", "", result.batch_ratio());
  }
  row("prefill, " + std::to_string(kPrefillRuns) + " runs of " + std::to_string(flags.prompt), result.prefill.best(),
      result.prefill.median(), "tokens/s");
  if (!result.peak.values.empty()) {
    row("  matrix peak", result.peak.best(), result.peak.median(), "GFLOP/s");
    if (flags.by_verb) {
      std::printf("%-34s%10s%10.2f  %%, by its products with weights: %.0f GFLOP/s\n", "  of the peak", "",
                  100 * result.prefill_gflops() / result.peak.median(), result.prefill_gflops());
    }
  }
  if (!flags.by_verb) return;
  result.decode_verbs.print("decode");
  if (flags.batch > 1) result.batch_verbs.print(std::to_string(flags.batch) + " sessions together");
  result.prefill_verbs.print("prefill of " + std::to_string(flags.prompt));
}

void check_usage(const BenchFlags& flags) {
  if (flags.folder.has_value() != flags.shape.empty()) throw UsageError("either MODEL or --shape is needed, not both");
  if (!flags.folder && flags.shape != "flash" && flags.shape != "pro")
    throw UsageError("--shape takes flash|pro, not '" + flags.shape + "'");
  if (flags.layers && flags.folder) throw UsageError("--layers goes with --shape");
}

}  // namespace

void command_bench(const Arguments& arguments) {
  ModelFlags model_flags;
  BenchFlags flags;
  Options options("bench", "MODEL [options] | --shape flash|pro --layers N [options]",
                  "Decode and prefill speed, of a checkpoint or on random weights of the published shapes (about 3.4 "
                  "GB of memory per layer of flash). Prints the best and the median of several runs: tokens/s, GB/s of "
                  "the weights a token needs, and that as a percentage of what threads reading plain memory reach in "
                  "the same minute, or the GPU reaches in copying its own; with --by-verb also how near prefill comes "
                  "to the machine's matrix product. The "
                  "JSON line holds the best. Measure on an idle machine.");
  options.optional("MODEL", flags.folder);
  options.text("--shape", "flash|pro", "random weights of this shape, instead of MODEL", flags.shape);
  options.integer("--layers", "N", "layers of --shape (default 0: all of them)", 0, 1000, flags.layers);
  options.integer("--context", "N",
                  "tokens already in the session (default 4096); with MODEL they are really evaluated first", 0,
                  UINT32_MAX, flags.context);
  options.integer("--prompt", "N", "tokens of a prefill run (default 512)", 1, 1 << 20, flags.prompt);
  options.integer("--step-rows", "N", "tokens of it evaluated at once, at most (default 512)", 1, 8192,
                  model_flags.step_rows);
  options.integer("--tokens", "N", "tokens of a decode run (default 16)", 1, 1 << 20, flags.tokens);
  options.integer("--batch", "N", "also N sessions that decode together, against one (default 1: not measured)", 1, 256,
                  flags.batch);
  options.flag("--by-verb", "also what every verb of the backend costs: time, bytes of weights, products",
               flags.by_verb);
  options.flag("--json", "end with one line of JSON", flags.json);
  add_machine_flags(options, model_flags);
  if (!options.parse(arguments)) return;
  check_usage(flags);

  // The probe must use what the model uses, so the default is settled here.
  if (model_flags.threads == 0) model_flags.threads = std::max(1u, std::thread::hardware_concurrency());
  model_flags.folder = flags.folder.value_or("");
  model_flags.time_verbs = flags.by_verb;
  const Model model =
      flags.folder ? open_model(model_flags)
                   : open_synthetic_model(flags.shape, static_cast<int32_t>(flags.layers.value_or(0)), model_flags);
  const dsv4_model_info info = model_info(model.get());
  const bool is_reference = std::string(info.backend).starts_with("reference");
  const size_t threads = is_reference ? 1 : static_cast<size_t>(model_flags.threads);
  const uint64_t depth = depth_of(flags, info);
  const Result result = measure(model.get(), info, flags, depth, threads);
  print_text(result, info, flags, depth, threads);
  if (flags.json) print_json(result, info, flags, depth, threads);
}

}  // namespace cli
