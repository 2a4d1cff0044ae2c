// The kernels, and how many blocks of them run.

#include "launch.h"

#include <cuda_runtime.h>

extern __shared__ __align__(128) unsigned char shared_memory[];

__global__ void __launch_bounds__(THREADS, 1) normal_kernel(NormalArguments p) {
    normal_block(p, blockIdx.x, blockIdx.y);
}

template <class T, int BC, int STRIPS, int STAGES>
__global__ void __launch_bounds__(THREADS, 1) layer_kernel(LayerArguments p) {
    layer_block<T, BC, STRIPS, STAGES>(p, shared_memory, blockIdx.x);
}

template <class T> __global__ void __launch_bounds__(THREADS, 1) coupling_kernel(CouplingArguments p) {
    coupling_block<T>(p, shared_memory, blockIdx.x);
}

__global__ void __launch_bounds__(THREADS, 1) lapped_kernel(LappedArguments p) {
    lapped_block(p, shared_memory, blockIdx.x);
}

template <class T, int BC> __global__ void __launch_bounds__(THREADS, 1) lapglow_kernel(LapglowArguments p) {
    lapglow_grid<T, BC>(p, shared_memory, blockIdx.x, gridDim.x);
}

namespace {

// The most shared memory that a block may have on the current device.
int shared_limit() {
    int device = 0, bytes = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    return bytes;
}

template <class Kernel, class Arguments>
int start(Kernel kernel, const Arguments& p, dim3 grid, int bytes, void* stream) {
    cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess) return error;
    kernel<<<grid, THREADS, bytes, static_cast<cudaStream_t>(stream)>>>(p);
    return cudaGetLastError();
}

template <class T, int BC, int STRIPS, int STAGES> int start_layer(const LayerArguments& p, void* stream) {
    using Layout = LayerLayout<T, BC, STRIPS, STAGES>;
    dim3 grid(ceil_div(p.n_frames, Layout::ROWS) * p.n_positions * p.batch);
    return start(layer_kernel<T, BC, STRIPS, STAGES>, p, grid, Layout(p.n_blocks, p.latent ? p.seen : 0).bytes, stream);
}

template <class T, int BC> int start_fitting(const LayerArguments& p, void* stream) {
    int seen = p.latent ? p.seen : 0, limit = shared_limit();
    bool tall = p.n_frames > 32;
    if (tall && LayerLayout<T, BC, 2, 3>(p.n_blocks, seen).bytes <= limit) return start_layer<T, BC, 2, 3>(p, stream);
    if (tall && LayerLayout<T, BC, 2, 2>(p.n_blocks, seen).bytes <= limit) return start_layer<T, BC, 2, 2>(p, stream);
    return start_layer<T, BC, 1, 2>(p, stream);
}

template <class T> int start_blocks(const LayerArguments& p, void* stream) {
    switch (p.block_channels) {
    case 64: return start_fitting<T, 64>(p, stream);
#ifndef ONE_WIDTH  // for a quick check that everything compiles
    case 128: return start_fitting<T, 128>(p, stream);
    case 32: return start_fitting<T, 32>(p, stream);
    case 16: return start_fitting<T, 16>(p, stream);
#endif
    }
    return cudaErrorInvalidValue;
}

template <class T, int BC> int start_lapglow(const LapglowArguments& p, void* stream) {
    int bytes = LapglowLayout<T, BC>(p).bytes, device = 0, processors = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    auto kernel = lapglow_kernel<T, BC>;
    cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess) return error;
    error = cudaMemsetAsync(p.barrier, 0, sizeof(unsigned), static_cast<cudaStream_t>(stream));
    if (error != cudaSuccess) return error;
    // A cooperative launch fails unless all blocks are on the device at once, which the barrier between them needs.
    LapglowArguments arguments = p;
    void* pointers[] = {&arguments};
    return cudaLaunchCooperativeKernel(reinterpret_cast<const void*>(kernel), dim3(processors), dim3(THREADS), pointers,
                                       bytes, static_cast<cudaStream_t>(stream));
}

template <class T> int start_grid(const LapglowArguments& p, void* stream) {
    switch (p.block_channels) {
    case 64: return start_lapglow<T, 64>(p, stream);
#ifndef ONE_WIDTH
    case 32: return start_lapglow<T, 32>(p, stream);
    case 16: return start_lapglow<T, 16>(p, stream);
#endif
    }
    return cudaErrorInvalidValue;
}

}  // namespace

extern "C" {

int wf_normal(const NormalArguments* p, void* stream) {
    int64_t counters = (p->start + p->n + 3) / 4 - p->start / 4;
    dim3 grid(static_cast<unsigned>((counters + THREADS - 1) / THREADS), p->batch);
    normal_kernel<<<grid, THREADS, 0, static_cast<cudaStream_t>(stream)>>>(*p);
    return cudaGetLastError();
}

int wf_layer(const LayerArguments* p, int operands, void* stream) {
    return operands == HALF ? start_blocks<half_t>(*p, stream) : start_blocks<bfloat_t>(*p, stream);
}

int wf_coupling(const CouplingArguments* p, int operands, void* stream) {
    dim3 grid(ceil_div(p->n_vectors, WideLayout::ROWS) * p->batch);
    int bytes = WideLayout(p->n + p->n_early, p->n + p->n_early + p->n_hidden).bytes;
    if (operands == HALF) return start(coupling_kernel<half_t>, *p, grid, bytes, stream);
    return start(coupling_kernel<bfloat_t>, *p, grid, bytes, stream);
}

int wf_lapped(const LappedArguments* p, void* stream) {
    dim3 grid(ceil_div(p->n_frames, WideLayout::ROWS - 2) * p->batch);
    return start(lapped_kernel, *p, grid, WideLayout(p->n_bands, p->n_bands).bytes, stream);
}

int wf_lapglow(const LapglowArguments* p, int operands, void* stream) {
    return operands == HALF ? start_grid<half_t>(*p, stream) : start_grid<bfloat_t>(*p, stream);
}

int wf_size_of(int which) { return size_of(which); }

const char* wf_error(int code) { return cudaGetErrorString(static_cast<cudaError_t>(code)); }
}
