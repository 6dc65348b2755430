// An activation buffer, counted in vec4<f32>, holds three arrays of maxBatch rows of ACT_STRIDE values:
//   values     the plain f32 values, for float weights
//   rounded    the values rounded to 16 bits per block of 32 (integer times power of two), for integer weights
//   sums       per block the sums of the rounded values of its first and second 16, in x and y
// The products of rounded values and integer weights are exact in f32, whatever the order (docs/arithmetic.md).
const ACT_ROW: u32 = ACT_STRIDE / 4u;
const ACT_ROUNDED: u32 = MAX_BATCH * ACT_ROW;
const ACT_SUMS: u32 = 2u * MAX_BATCH * ACT_ROW;
const ACT_SUMS_ROW: u32 = ACT_STRIDE / 32u;
