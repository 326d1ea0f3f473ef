#include "tests/gpu/cuda_sequences.h"

#include <algorithm>
#include <cmath>

#include "backends/cuda/cuda_backend.h"
#include "tests/support/golden_agreement.h"
#include "tests/support/golden_file.h"

namespace dsv4::test {

std::unique_ptr<Model> open_golden(const std::string& name, std::unique_ptr<Backend> backend) {
  std::unique_ptr<Checkpoint> checkpoint = Checkpoint::open(golden_dir(name), {});
  backend->expect_weights(checkpoint->weight_bytes());
  return std::make_unique<Model>(std::move(checkpoint), std::move(backend), kStepRows);
}

std::unique_ptr<Model> open_cuda(const std::string& name) { return open_golden(name, make_cuda_backend({})); }

std::vector<int32_t> golden_tokens(const std::string& name, size_t count) {
  std::vector<int32_t> tokens = GoldenFile(golden_dir(name) + "/golden.safetensors").get("tokens").ints();
  tokens.resize(std::min(tokens.size(), count));
  return tokens;
}

Sequences::Sequences(Model& m, size_t count, int64_t room) : model(m), context(room) {
  for (size_t i = 0; i < count; ++i) states.push_back(model.make_state(context, model.has_draft()));
  positions.resize(count);
  logits.resize(count, std::vector<float>(static_cast<size_t>(model.config().vocab)));
}

void Sequences::step(const std::vector<Part>& parts) {
  std::vector<Chunk> chunks;
  for (const Part& part : parts) {
    Chunk c;
    c.state = states[part.sequence].get();
    c.position = positions[part.sequence];
    c.tokens = part.tokens;
    c.last_logits = logits[part.sequence].data();
    c.draft = model.has_draft();
    chunks.push_back(c);
  }
  model.evaluate(chunks);
  for (const Part& part : parts) positions[part.sequence] += static_cast<int64_t>(part.tokens.size());
}

std::vector<StatePart> Sequences::parts(int64_t length) const {
  return state_parts(Model::state_shape(model.config(), context, model.max_rows(), model.has_draft()), length,
                     StateExtent::kAll);
}

std::vector<uint8_t> Sequences::exported(size_t sequence) const {
  const std::vector<StatePart> all = parts(positions[sequence]);
  std::vector<uint8_t> out(total_bytes(all));
  model.export_state(*states[sequence], all, out.data());
  return out;
}

double kl(const std::vector<float>& a, const std::vector<float>& b) {
  const auto normaliser = [](const std::vector<float>& x) {
    const double max = *std::max_element(x.begin(), x.end());
    double sum = 0;
    for (const float f : x) sum += std::exp(f - max);
    return max + std::log(sum);
  };
  const double za = normaliser(a), zb = normaliser(b);
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::exp(a[i] - za) * ((a[i] - za) - (b[i] - zb));
  return sum;
}

}  // namespace dsv4::test
