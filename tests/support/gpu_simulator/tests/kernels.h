// Small kernels, right and deliberately wrong ones, as functions that launch them.
// All pointers are of the device; `n` is a multiple of the 64 threads of a block unless said.
#pragma once

#include <cstddef>
#include <cstdint>

namespace switchyard::gpu_simulator::testing {

struct Arrays {
  const int* in = nullptr;
  int* out = nullptr;
  int n = 0;
};

// ---- Right
void add_index(const Arrays& arrays);       // out[i] = in[i] + i, any n
void reverse_blocks(const Arrays& arrays);  // every 64 values reversed, in shared memory
void reverse_blocks_dynamic(const Arrays& arrays);
// The same beside the 256 bytes of shared memory that the kernel has of its own, by the launch
// helper, which asks for what a kernel needs.
void reverse_blocks_beside_own(const Arrays& arrays, std::size_t shared_bytes);
// sum_blocks, whose kernel has 8 bytes of its own, started without asking.
bool starts_without_asking(const Arrays& arrays, std::size_t shared_bytes);
void sum_blocks(const Arrays& arrays);    // out[b] = sum of 64 values: shuffles, then shared
void count_odd(const Arrays& arrays);     // out[0] += number of odd values, atomically
void copy_vectors(const Arrays& arrays);  // out = in by int4
void swap_in_warp(const Arrays& arrays);  // through shared memory and __syncwarp
// out[i]: bit 0 any, bit 1 all of in != 0; from bit 2 on the votes of the warp
void vote(const Arrays& arrays);
void match(const Arrays& arrays);                    // out[i] = lanes of the warp with the same in
void reduce(const Arrays& arrays);                   // out[i] = max - min of the warp
void count_positive_in_block(const Arrays& arrays);  // out[i] = number of in > 0 of the block
// out[i] = in of the lane 3 above in its group of 8 plus 100 * that of the lane 1 below
void shuffle_in_groups(const Arrays& arrays);
void wide_grid(int* out);  // out[32 * 4 * 2 * 3 * 2]: each thread its number
void round_trip_bfloat16(const float* in, float* out, int n);
// Of 256 small numbers, a matrix M of 16 x 16 by rows: out = 2 M M^T + 1, or 2 M M + 1.
void multiply_by_transposed(const Arrays& arrays);
void multiply_by_itself(const Arrays& arrays);

// ---- Wrong
void missing_barrier(const Arrays& arrays);
void missing_warp_barrier(const Arrays& arrays);
void shuffle_is_no_barrier(const Arrays& arrays);
void write_past_end(const Arrays& arrays);
void read_past_end(const Arrays& arrays);
void write_past_shared(const Arrays& arrays);
void write_past_shared_by_pointer(const Arrays& arrays);
void write_past_dynamic_shared(const Arrays& arrays);
void read_uninitialised_shared(const Arrays& arrays);
void read_uninitialised_dynamic_shared(const Arrays& arrays);
void race_between_threads(const Arrays& arrays);  // all threads write out[0]
void race_between_blocks(const Arrays& arrays);   // blocks read what others write
void race_of_atomic_and_write(const Arrays& arrays);
void second_reader_races(const Arrays& arrays);  // two readers, then the last one writes
void divergent_barrier(const Arrays& arrays);    // half of the threads
void barriers_at_two_places(const Arrays& arrays);
void finished_before_barrier(const Arrays& arrays);
void shuffle_from_absent_lane(const Arrays& arrays);
void half_a_warp_shuffles(const Arrays& arrays);  // with the mask of a whole one
void misaligned_vector(const Arrays& arrays);
void host_pointer(const Arrays& arrays);
// multiply_by_transposed with one mistake.
void assume_places_of_elements(const Arrays& arrays);
void add_to_nothing(const Arrays& arrays);  // a fragment of sums that nobody filled
void read_sums_without_barrier(const Arrays& arrays);
void matrix_off_alignment(const Arrays& arrays);
void matrix_rows_off_alignment(const Arrays& arrays);
void half_a_warp_multiplies(const Arrays& arrays);
void lanes_name_two_matrices(const Arrays& arrays);
void matrix_past_end(const Arrays& arrays);  // of device memory
void too_many_threads(const Arrays& arrays);
void too_much_shared_memory(const Arrays& arrays);

}  // namespace switchyard::gpu_simulator::testing
