# What the cuda backend consists of, for the module and for the executor of tests/simt.
set(DSV4_CUDA_KERNELS attend_kernels.cu compress_kernels.cu dense_kernels.cu expert_kernels.cu index_kernels.cu peak_kernels.cu product_kernels.cu
                      query_kernels.cu route_kernels.cu row_kernels.cu state_kernels.cu stream_kernels.cu)
set(DSV4_CUDA_HOST cuda_attention.cc cuda_backend.cc cuda_experts.cc cuda_graphs.cc cuda_memory.cc cuda_peak.cc cuda_products.cc
                   cuda_route.cc cuda_rows.cc cuda_state.cc cuda_streams.cc dense_library.cc gpu.cc)
list(TRANSFORM DSV4_CUDA_KERNELS PREPEND ${CMAKE_CURRENT_LIST_DIR}/)
list(TRANSFORM DSV4_CUDA_HOST PREPEND ${CMAKE_CURRENT_LIST_DIR}/)
