// dsv4.h, section "model".

#include <algorithm>
#include <cstring>

#include "lib/api/guard.h"
#include "lib/api/handles.h"
#include "lib/api/registry.h"
#include "lib/base/file_map.h"
#include "lib/base/system_memory.h"
#include "lib/checkpoint/checkpoint.h"

using namespace dsv4;

namespace {

constexpr int32_t kDefaultStepRows = 512;
constexpr int32_t kMostStepRows = 8192;
constexpr size_t kConfigLimit = 16u << 20;

dsv4_model_options model_defaults() { return DSV4_MODEL_OPTIONS_INIT; }

dsv4_model_options read_model_options(const dsv4_model_options* options) {
  dsv4_model_options o = api::read_options(options, model_defaults(), "model options");
  constexpr uint32_t kKnown = DSV4_OPEN_TEXT_ONLY | DSV4_OPEN_VERIFY | DSV4_OPEN_TIME_VERBS;
  if ((o.flags & ~kKnown) != 0)
    fail(Status::kUnsupported, "model options: flags {:#x}: unknown bits", o.flags & ~kKnown);
  if (o.profile < DSV4_PROFILE_AUTO || o.profile > DSV4_PROFILE_0731) {
    fail(Status::kInvalidArgument, "model options: profile {}: a DSV4_PROFILE_* value expected", o.profile);
  }
  if (o.max_step_rows == 0) o.max_step_rows = kDefaultStepRows;
  if (o.max_step_rows < 0 || o.max_step_rows > kMostStepRows) {
    fail(Status::kInvalidArgument, "model options: max_step_rows {}: 1 to {} expected", o.max_step_rows, kMostStepRows);
  }
  return o;
}

OpenOptions open_options(const dsv4_model_options& o) {
  OpenOptions open;
  open.text_only = (o.flags & DSV4_OPEN_TEXT_ONLY) != 0;
  open.verify = (o.flags & DSV4_OPEN_VERIFY) != 0;
  if (o.log != nullptr) {
    open.note = [log = o.log, user = o.log_user](const std::string& text) { log(user, DSV4_LOG_INFO, text.c_str()); };
  }
  if (o.progress != nullptr) {
    open.progress = [progress = o.progress, user = o.progress_user](uint64_t done, uint64_t total) {
      return progress(user, done, total) == 0;
    };
  }
  return open;
}

BackendChoice backend_choice(const dsv4_model_options& o) {
  BackendChoice choice;
  choice.name = o.backend != nullptr ? o.backend : "";
  choice.isa = o.isa != nullptr ? o.isa : "";
  choice.threads = o.threads;
  choice.device = o.device;
  choice.memory_limit = o.device_memory_limit;
  return choice;
}

struct OpenedBackend {
  std::unique_ptr<Backend> backend;
  bool copies = false;  // the weights: it has room for them
};

// "auto" is a GPU only if the model fits there: otherwise the cpu, and the log says why.
OpenedBackend open_backend(const dsv4_model_options& o, uint64_t weight_bytes) {
  BackendChoice choice = backend_choice(o);
  OpenedBackend opened;
  try {
    opened.backend = make_backend(choice);
    opened.copies = opened.backend->expect_weights(weight_bytes);
  } catch (const Error& e) {
    if (!choice.is_auto() || e.status() != Status::kOutOfMemoryDevice) throw;
    if (o.log != nullptr) o.log(o.log_user, DSV4_LOG_WARNING, fmt::format("backend cpu is used: {}", e.what()).c_str());
    choice.name = "cpu";
    opened = {make_backend(choice), false};
  }
  return opened;
}

void set_profile(Engine& engine, int32_t asked) {
  // The 0731 checkpoints bring a DSpark drafter; nothing else in config.json tells the two apart.
  engine.profile_found = asked == DSV4_PROFILE_AUTO && engine.model->config().dspark;
  engine.profile = asked != DSV4_PROFILE_AUTO ? static_cast<Profile>(asked)
                   : engine.profile_found     ? Profile::k0731
                                              : Profile::kPreview;
}

void load_tokenizer(Engine& engine, const std::string& folder) {
  engine.tokenizer_path = folder.empty() ? "synthetic model" : join_path(folder, "tokenizer.json");
  if (folder.empty() || !file_exists(engine.tokenizer_path)) return;
  engine.tokenizer = Tokenizer::load(engine.tokenizer_path);
  const Config& config = engine.model->config();
  engine.constraints = std::make_unique<ConstraintCompiler>(*engine.tokenizer, config.vocab, config.eos);
}

dsv4_model* finish_model(std::unique_ptr<Checkpoint> checkpoint, const dsv4_model_options& o) {
  auto handle = std::make_unique<dsv4_model>();
  for (const std::string& note : checkpoint->notes()) handle->notes += (handle->notes.empty() ? "" : "\n") + note;
  const std::string folder = checkpoint->folder();
  auto [backend, copies] = open_backend(o, checkpoint->weight_bytes());
  if ((o.flags & DSV4_OPEN_TIME_VERBS) != 0) {
    auto verbs = std::make_unique<VerbTimes>(std::move(backend));
    handle->verbs = verbs.get();
    backend = std::move(verbs);
  }
  auto engine =
      std::make_shared<Engine>(std::make_unique<Model>(std::move(checkpoint), std::move(backend), o.max_step_rows,
                                                       copies ? open_options(o).progress : WeightProgress{}));
  load_tokenizer(*engine, folder);
  set_profile(*engine, o.profile);
  engine->memory_limit = o.host_memory_limit;
  handle->backend = engine->model->backend().description();
  if (o.log != nullptr) o.log(o.log_user, DSV4_LOG_INFO, handle->backend.c_str());
  handle->engine = std::move(engine);
  return handle.release();
}

uint64_t context_or_limit(const Config& config, uint64_t context) {
  const uint64_t limit = static_cast<uint64_t>(config.max_positions);
  if (context > limit) {
    fail(Status::kInvalidArgument, "context {}: at most {} expected (max_position_embeddings)", context, limit);
  }
  return context != 0 ? context : limit;
}

uint64_t layer_weight_bytes(const Checkpoint& checkpoint, int64_t layer) {
  uint64_t bytes = 0;
  for (int r = 0; r < static_cast<int>(TensorRole::kCount); ++r) {
    const TensorRole role = static_cast<TensorRole>(r);
    if (role == TensorRole::kEmbed || role == TensorRole::kHead) continue;  // the model's, on no layer
    const bool expert = role == TensorRole::kExpertW1 || role == TensorRole::kExpertW2 || role == TensorRole::kExpertW3;
    const int64_t count = expert ? checkpoint.config().experts : 1;
    for (int64_t e = 0; e < count; ++e) bytes += checkpoint.get(role, layer, e).bytes;
  }
  return bytes;
}

VerbTimes& measured_verbs(const dsv4_model* model) {
  VerbTimes* verbs = api::required(model, "model").verbs;
  if (verbs == nullptr) fail(Status::kInvalidArgument, "the model was opened without DSV4_OPEN_TIME_VERBS");
  return *verbs;
}

}  // namespace

void dsv4_model_options_init(dsv4_model_options* options, size_t struct_size) {
  api::init_options(options, struct_size, model_defaults());
}

dsv4_status dsv4_model_open(const char* folder, const dsv4_model_options* options, dsv4_model** model,
                            dsv4_error** error) {
  return api::guard(error, [&] {
    api::required(folder, "folder");
    api::required(model, "model");
    const dsv4_model_options o = read_model_options(options);
    *model = finish_model(Checkpoint::open(folder, open_options(o)), o);
  });
}

dsv4_status dsv4_model_open_synthetic(const char* shape, int32_t layers, uint64_t seed,
                                      const dsv4_model_options* options, dsv4_model** model, dsv4_error** error) {
  return api::guard(error, [&] {
    api::required(shape, "shape");
    api::required(model, "model");
    const dsv4_model_options o = read_model_options(options);
    Config config = published_config(shape);
    if (layers < 0 || layers > config.layers) {
      fail(Status::kInvalidArgument, "layers {}: 0 (all) to {} expected for shape \"{}\"", layers, config.layers,
           shape);
    }
    if (layers != 0) config = with_layers(config, layers);
    *model = finish_model(Checkpoint::synthetic(config, seed, open_options(o)), o);
  });
}

dsv4_model* dsv4_model_retain(dsv4_model* model) {
  if (model != nullptr) model->references.fetch_add(1, std::memory_order_relaxed);
  return model;
}

void dsv4_model_release(dsv4_model** model) {
  if (model == nullptr) return;
  dsv4_model* handle = *model;
  *model = nullptr;
  if (handle != nullptr && handle->references.fetch_sub(1, std::memory_order_acq_rel) == 1) delete handle;
}

dsv4_status dsv4_model_estimate(const char* folder, const dsv4_model_options* options, uint64_t context,
                                dsv4_estimate* estimate, dsv4_error** error) {
  return api::guard(error, [&] {
    api::required(folder, "folder");
    api::required(estimate, "estimate");
    const dsv4_model_options o = read_model_options(options);
    const std::string path = join_path(folder, "config.json");
    const Config config = parse_config(read_file(path, kConfigLimit), path, (o.flags & DSV4_OPEN_TEXT_ONLY) != 0);
    const int64_t tokens = static_cast<int64_t>(context_or_limit(config, context));
    dsv4_estimate out{};
    out.weight_bytes = expected_weight_bytes(config);
    const std::unique_ptr<Backend> backend = make_backend(backend_choice(o));
    out.state_bytes = backend->state_bytes(Model::state_shape(config, tokens, o.max_step_rows, false));
    out.workspace_bytes = Workspace::bytes_for(config, o.max_step_rows);
    out.available_host_bytes = available_memory();
    out.available_device_bytes = backend->free_device_bytes();
    const uint64_t own = out.state_bytes + out.workspace_bytes;
    out.fits = out.available_device_bytes != 0 ? out.weight_bytes + own <= out.available_device_bytes
                                               : out.available_host_bytes == 0 || own <= out.available_host_bytes;
    api::write_info(estimate, out, "estimate");
  });
}

dsv4_status dsv4_model_info_get(const dsv4_model* model, dsv4_model_info* info, dsv4_error** error) {
  return api::guard(error, [&] {
    const Engine& engine = *api::required(model, "model").engine;
    const Config& c = engine.model->config();
    dsv4_model_info out{};
    out.fingerprint = engine.model->checkpoint().fingerprint();
    out.weight_bytes = engine.model->checkpoint().weight_bytes();
    out.token_weight_bytes = engine.model->token_weight_bytes();
    out.max_context = static_cast<uint64_t>(c.max_positions);
    out.vocab = c.vocab;
    out.hidden = c.hidden;
    out.layers = c.layers;
    out.heads = c.heads;
    out.head_dim = c.head_dim;
    out.experts = c.experts;
    out.experts_per_token = c.experts_per_token;
    out.window = c.window;
    out.index_topk = c.index_topk;
    out.draft_head = engine.model->has_draft();
    out.has_tokenizer = engine.tokenizer != nullptr;
    out.profile = static_cast<int32_t>(engine.profile);
    out.profile_found = engine.profile_found;
    out.reasoning_modes = mode_bits(engine.profile);
    out.default_reasoning = static_cast<int32_t>(default_mode(engine.profile));
    out.bos_token = c.bos;
    out.eos_token = c.eos;
    out.backend = model->backend.c_str();
    out.notes = model->notes.c_str();
    api::write_info(info, out, "info");
  });
}

dsv4_status dsv4_model_layer_info(const dsv4_model* model, int64_t index, uint64_t context, dsv4_layer_info* info,
                                  dsv4_error** error) {
  return api::guard(error, [&] {
    const Model& m = *api::required(model, "model").engine->model;
    const Config& c = m.config();
    if (index < 0 || index >= c.blocks()) {
      fail(Status::kInvalidArgument, "layer {}: 0 to {} expected", index, c.blocks() - 1);
    }
    StateShape shape = Model::state_shape(c, static_cast<int64_t>(context_or_limit(c, context)), m.max_rows(), true);
    const LayerShape only = shape.layers[static_cast<size_t>(index)];
    shape.layers.assign(1, only);
    shape.carry = 0;
    dsv4_layer_info out{};
    out.ratio = c.ratio(index);
    out.hash_routed = c.is_hash(index);
    out.draft = c.is_mtp(index);
    out.weight_bytes = layer_weight_bytes(m.checkpoint(), index);
    out.state_bytes = m.backend().state_bytes(shape);
    api::write_info(info, out, "info");
  });
}

dsv4_status dsv4_model_verb_time(const dsv4_model* model, size_t index, dsv4_verb_time* time, dsv4_error** error) {
  return api::guard(error, [&] {
    const std::vector<VerbTimes::Line> lines = measured_verbs(model).lines();
    if (index >= lines.size()) fail(Status::kNotFound, "verb {}: {} were called", index, lines.size());
    const VerbTimes::Line& line = lines[index];
    dsv4_verb_time out{};
    out.verb = line.verb;
    out.calls = static_cast<uint64_t>(line.calls);
    out.weight_bytes = static_cast<uint64_t>(line.weight_bytes);
    out.multiply_adds = line.multiply_adds;
    out.seconds = line.seconds;
    api::write_info(time, out, "verb time");
  });
}

dsv4_status dsv4_model_matrix_peak(dsv4_model* model, double* multiply_adds_per_s, dsv4_error** error) {
  return api::guard(error, [&] {
    Model& m = *api::required(model, "model").engine->model;
    double& out = api::required(multiply_adds_per_s, "multiply_adds_per_s");
    const double peak = m.matrix_peak();
    if (peak <= 0) {
      fail(Status::kUnsupported, "matrix peak: backend {} has no fast matrix product to measure", m.backend().name());
    }
    out = peak;
  });
}

dsv4_status dsv4_model_copy_peak(dsv4_model* model, double* bytes_per_s, dsv4_error** error) {
  return api::guard(error, [&] {
    Model& m = *api::required(model, "model").engine->model;
    double& out = api::required(bytes_per_s, "bytes_per_s");
    const double peak = m.copy_peak();
    if (peak <= 0) fail(Status::kUnsupported, "copy peak: backend {} has no memory of its own", m.backend().name());
    out = peak;
  });
}

dsv4_status dsv4_model_verb_times_clear(dsv4_model* model, dsv4_error** error) {
  return api::guard(error, [&] { measured_verbs(model).clear(); });
}
