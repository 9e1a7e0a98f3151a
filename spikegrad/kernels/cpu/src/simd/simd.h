// The one header of this room: what a set of instructions offers to the kernels.
//
//   set.h         which set, its vectors' width, how many registers it has
//   lanes.h       types: Lane<T>, Mask<T>, kLanes<T>, kVectors<T>; load, store
//   vectors.h     the operations, for any width: comparisons and masks, fused, sums_of, partial
//                 loads and stores, stream, compress and expand, list_ones
//   select.h      choices by a mask, maximum, minimum, masks of masks, signs
//   rounding.h    roundings, square root, integers and numbers, powers of 2, float64 and back
//   avx512.h, avx2.h, neon.h   the same where the set has something better
//   transpose.h, transpose_bits.h, subnormals.h
//
// No header of torch is included here, so that a test can compile the room alone, for any CPU.
#pragma once

#include "subnormals.h"
#include "transpose.h"
#include "transpose_bits.h"
