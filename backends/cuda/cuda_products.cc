// Products of rows and weights: linear, project_out, logits. Quantised weights see their input quantised, once per
// call.
#include <algorithm>

#include "backends/cuda/cuda_verbs.h"
#include "lib/base/error.h"

namespace dsv4::cuda {
namespace {

bool aligned_rows(const bf16* x, int64_t stride) { return stride % 8 == 0 && reinterpret_cast<uintptr_t>(x) % 16 == 0; }

ProductJob job_for(Mat out, const Weight& weight, const bf16* x, int64_t x_stride) {
  ProductJob job;
  job.weight = view_of(weight);
  job.x = x;
  job.x_stride = x_stride;
  job.aligned = aligned_rows(x, x_stride);
  job.out = out.data;
  job.out_stride = out.stride;
  job.out_f32 = out.dtype == DType::kF32;
  return job;
}

}  // namespace

void CudaBackend::linear(std::span<const Product> products, Mat x) {
  if (x.rows == 0) return;
  const bool quantise =
      std::any_of(products.begin(), products.end(), [](const Product& p) { return p.weight->quantised(); });
  const int64_t stride = quantised_stride(x.cols);
  bf16* quantised = products_.quantised.as<bf16>();
  if (quantise) {
    if (static_cast<size_t>(x.rows * stride) * sizeof(bf16) > products_.quantised.size()) {
      fail(Status::kInternal, "cuda backend: products of {} rows of {} columns: more than was reserved", x.rows,
           x.cols);
    }
    quantise_rows(gpu_, quantised, x.row<bf16>(0), x.stride, x.rows, x.cols);
  }
  ProductJob jobs[kMaxJobs];
  for (size_t done = 0; done < products.size();) {
    const size_t count = std::min(products.size() - done, size_t{kMaxJobs});
    size_t own = 0;  // jobs for our own kernels
    for (size_t i = 0; i < count; ++i) {
      const Product& p = products[done + i];
      ProductJob job = p.weight->quantised() ? job_for(p.out, *p.weight, quantised, stride)
                                             : job_for(p.out, *p.weight, x.row<bf16>(0), x.stride);
      job.paired = p.weight->quantised();
      if (dense_.refusal(job, x.rows).empty()) {
        dense_.multiply(job, x.rows);
      } else {
        jobs[own++] = job;
      }
    }
    if (own > 0) multiply(gpu_, {jobs, own}, x.rows);
    done += count;
  }
}

void CudaBackend::project_out(Mat y, Mat low, Mat o, const Weight& wo_a, const Weight& wo_b, int64_t groups) {
  if (o.rows == 0) return;
  ProductJob job = job_for(low, wo_a, o.row<bf16>(0), o.stride);
  job.groups = static_cast<int32_t>(groups);
  multiply(gpu_, {&job, 1}, o.rows);
  const Product product{y, &wo_b};
  linear({&product, 1}, low);
}

void CudaBackend::logits(Mat out, Mat x, const Weight& head) {
  if (x.rows == 0) return;
  const ProductJob job = job_for(out, head, x.row<bf16>(0), x.stride);
  multiply(gpu_, {&job, 1}, x.rows);
}

}  // namespace dsv4::cuda
