// One source for device and host: with nvcc a block of threads and tensor cores, with a C++ compiler plain loops.
//
// A kernel is a function of a block's number and its shared memory, made of phases that BLOCK_SYNC separates. On the
// host each phase runs to its end before the next, so that index arithmetic and order of phases can be tested there;
// what cannot is whether a barrier is missing within a phase.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <mma.h>

#define DEVICE __device__ __forceinline__
#define EACH_THREAD(i, n) for (int i = threadIdx.x; i < (n); i += blockDim.x)
#define EACH_WARP(warp, slot) for (int slot = 0, warp = threadIdx.x >> 5; slot < 1 && warp < WARPS; ++slot)
#define EACH_LANE(lane) for (int lane = threadIdx.x & 31, once = 1; once; once = 0)
#define BLOCK_SYNC() __syncthreads()
#define WARP_SYNC() __syncwarp()
#define UNROLL _Pragma("unroll")

using half_t = __half;
using bfloat_t = __nv_bfloat16;

DEVICE float to_float(half_t x) { return __half2float(x); }
DEVICE float to_float(bfloat_t x) { return __bfloat162float(x); }
template <class T> DEVICE T from_float(float x);
template <> DEVICE half_t from_float<half_t>(float x) { return __float2half_rn(x); }
template <> DEVICE bfloat_t from_float<bfloat_t>(float x) { return __float2bfloat16_rn(x); }
DEVICE float fast_exp(float x) { return __expf(x); }

#else

#include <cstdio>

#define DEVICE inline
#define EACH_THREAD(i, n) for (int i = 0; i < (n); ++i)
#define EACH_WARP(warp, slot) for (int warp = 0, slot = 0; slot < WARPS; slot = ++warp)
#define EACH_LANE(lane) for (int lane = 0; lane < 32; ++lane)
#define BLOCK_SYNC()
#define WARP_SYNC()
#define UNROLL

struct half_t {
    _Float16 value;
};
struct bfloat_t {
    uint16_t bits;
};

DEVICE float to_float(half_t x) { return static_cast<float>(x.value); }
DEVICE float to_float(bfloat_t x) {
    uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
template <class T> DEVICE T from_float(float x);
template <> DEVICE half_t from_float<half_t>(float x) { return {static_cast<_Float16>(x)}; }
template <> DEVICE bfloat_t from_float<bfloat_t>(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    // To the nearest, ties to even.
    return {static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)};
}
DEVICE float fast_exp(float x) { return std::exp(x); }

#endif

constexpr int WARPS = 8;
constexpr int THREADS = 32 * WARPS;
#ifdef __CUDACC__
constexpr int SLOTS = 1;
#else
constexpr int SLOTS = WARPS;
#endif

// Copy 16 (or 4) bytes to shared memory without waiting, or zeros where there is nothing to copy.
template <int BYTES> DEVICE void copy_async(void* to, const void* from, bool exists) {
#ifdef __CUDACC__
    unsigned target = static_cast<unsigned>(__cvta_generic_to_shared(to));
    int bytes = exists ? BYTES : 0;
    if constexpr (BYTES == 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(from), "r"(bytes) : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(target), "l"(from), "r"(bytes) : "memory");
#else
    if (exists)
        std::memcpy(to, from, BYTES);
    else
        std::memset(to, 0, BYTES);
#endif
}

DEVICE void copies_commit() {
#ifdef __CUDACC__
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Wait until at most so many of the latest groups are under way.
template <int GROUPS> DEVICE void copies_wait() {
#ifdef __CUDACC__
    asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory");
#endif
}

// `load(stage, tile)` begins the copies of a tile, `use(stage, tile)` reads them: STAGES - 1 tiles are under way.
template <int STAGES, class Load, class Use> DEVICE void pipeline(int n_tiles, Load load, Use use) {
    for (int tile = 0; tile < STAGES - 1; ++tile) {
        if (tile < n_tiles) load(tile, tile);
        copies_commit();
    }
    for (int tile = 0; tile < n_tiles; ++tile) {
        copies_wait<STAGES - 2>();
        // The tile is there for all, and all have left the one whose place the next copies take.
        BLOCK_SYNC();
        int next = tile + STAGES - 1;
        if (next < n_tiles) load(next % STAGES, next);
        copies_commit();
        use(tile % STAGES, tile);
    }
    copies_wait<0>();
    BLOCK_SYNC();
}

// A warp's 16 rows by 16 inputs of half-precision numbers, `lead` numbers from row to row.
template <class T> struct Rows {
#ifdef __CUDACC__
    nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, 16, 16, 16, T, nvcuda::wmma::row_major> part;
    DEVICE Rows(const T* from, int lead) { nvcuda::wmma::load_matrix_sync(part, from, lead); }
#else
    const T* from;
    int lead;
    Rows(const T* from, int lead) : from(from), lead(lead) {}
#endif
};

// 16 outputs by 16 inputs, as a weight matrix lies in memory.
template <class T> struct Columns {
#ifdef __CUDACC__
    nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, 16, 16, 16, T, nvcuda::wmma::col_major> part;
    DEVICE Columns(const T* from, int lead) { nvcuda::wmma::load_matrix_sync(part, from, lead); }
#else
    const T* from;
    int lead;
    Columns(const T* from, int lead) : from(from), lead(lead) {}
#endif
};

// 16 by 16 sums in single precision of products of so many inputs. Two of them hold equal places in equal elements.
template <int INPUTS> struct SumOf {
#ifdef __CUDACC__
    nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, INPUTS, float> part;
    DEVICE void fill(float x) { nvcuda::wmma::fill_fragment(part, x); }
    DEVICE void load(const float* from, int lead) {
        nvcuda::wmma::load_matrix_sync(part, from, lead, nvcuda::wmma::mem_row_major);
    }
    DEVICE void store(float* to, int lead) const {
        nvcuda::wmma::store_matrix_sync(to, part, lead, nvcuda::wmma::mem_row_major);
    }
    static constexpr int SIZE = decltype(part)::num_elements;
    DEVICE float& operator[](int i) { return part.x[i]; }
    template <class T> DEVICE void add(const Rows<T>& a, const Columns<T>& b) {
        nvcuda::wmma::mma_sync(part, a.part, b.part, part);
    }
    // 16 rows and 16 outputs of single-precision numbers, 8 inputs: three products of their rounded halves.
    DEVICE void add_wide(const float* a, int lead_a, const float* b, int lead_b) {
        using namespace nvcuda::wmma;
        fragment<matrix_a, 16, 16, 8, precision::tf32, row_major> a_high, a_low;
        fragment<matrix_b, 16, 16, 8, precision::tf32, col_major> b_high, b_low;
        load_matrix_sync(a_high, a, lead_a);
        load_matrix_sync(b_high, b, lead_b);
        UNROLL
        for (int i = 0; i < a_high.num_elements; ++i) {
            float x = a_high.x[i];
            a_high.x[i] = __float_to_tf32(x);
            a_low.x[i] = __float_to_tf32(x - a_high.x[i]);
        }
        UNROLL
        for (int i = 0; i < b_high.num_elements; ++i) {
            float x = b_high.x[i];
            b_high.x[i] = __float_to_tf32(x);
            b_low.x[i] = __float_to_tf32(x - b_high.x[i]);
        }
        mma_sync(part, a_low, b_high, part);
        mma_sync(part, a_high, b_low, part);
        mma_sync(part, a_high, b_high, part);
    }
#else
    float x[256];
    void fill(float value) {
        for (float& element : x) element = value;
    }
    void load(const float* from, int lead) {
        for (int i = 0; i < 256; ++i) x[i] = from[i / 16 * lead + i % 16];
    }
    void store(float* to, int lead) const {
        for (int i = 0; i < 256; ++i) to[i / 16 * lead + i % 16] = x[i];
    }
    static constexpr int SIZE = 256;
    float& operator[](int i) { return x[i]; }
    template <class T> void add(const Rows<T>& a, const Columns<T>& b) {
        float left[256], right[256];
        for (int i = 0; i < 256; ++i) {
            left[i] = to_float(a.from[i / 16 * a.lead + i % 16]);
            right[i] = to_float(b.from[i / 16 * b.lead + i % 16]);
        }
        for (int i = 0; i < 256; ++i)
            for (int k = 0; k < 16; ++k) x[i] += left[i / 16 * 16 + k] * right[i % 16 * 16 + k];
    }
    void add_wide(const float* a, int lead_a, const float* b, int lead_b) {
        for (int i = 0; i < 256; ++i)
            for (int k = 0; k < 8; ++k) x[i] += a[i / 16 * lead_a + k] * b[i % 16 * lead_b + k];
    }
#endif
};

using Sum = SumOf<16>;
using WideSum = SumOf<8>;

// tanh(a) sigmoid(b) = (1 - u) / ((1 + u)(1 + v)),   u = exp(-2a), v = exp(-b); u is kept finite.
DEVICE float gate_of(float a, float b) {
    float u = fast_exp(fminf(-2 * a, 41.0f));
    return (1 - u) / ((1 + u) * (1 + fast_exp(-b)));
}

#ifdef __CUDACC__
__host__ __device__
#endif
constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }
