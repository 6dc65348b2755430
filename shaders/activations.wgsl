// An activation buffer, counted in vec4 of 32-bit words, holds three arrays of MAX_BATCH rows of ACT_STRIDE values:
//   values    the plain f32 values, for float weights
//   integers  the values rounded to 16 bits per block of 32, for integer weights. For products in f32, word i of a block
//             holds column i in its lower half, plus 32768, and column 16 + i in its upper half (so that no shift is needed
//             to take them apart). For packed dot products, vector p holds the upper bytes of columns 4p.., their lower
//             bytes, and the same of columns 16+4p..
//   blocks    two vectors a block, as f32: (scale, sum of its first 16 rounded values, sum of its last 16,
//             sum of every fourth of the last 16), (sum of every fourth of the first 16, -, -, -); scales are powers of two
// Sums of products of these integers and 4-bit weights are exact in f32, whatever the order (docs/arithmetic.md).
const ACT_ROW: u32 = ACT_STRIDE / 4u;
const ACT_INTEGERS: u32 = MAX_BATCH * ACT_ROW;
const ACT_INTEGERS_ROW: u32 = ACT_STRIDE / 8u;
const ACT_BLOCKS: u32 = ACT_INTEGERS + MAX_BATCH * ACT_INTEGERS_ROW;
const ACT_BLOCKS_ROW: u32 = ACT_STRIDE / 16u;
