// The work of a product, built once per share (web/device/webgpu/product.ts). table[0] = (output values a token, -, -, -);
// then two vectors for every bundle of BUNDLE row groups (4 rows each):
//   (first segment, segments, first row group, first output row), (output rows, 1 to add to the output, segments of `up`: first, number)
// and, where the bundles point to, two for every segment: (quants, scales, mins, row groups), (blocks, first input block, -, -).
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> arena: array<vec4<i32>>;
@group(0) @binding(2) var<storage, read> table: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> act_in: array<vec4<f32>, MAX_BATCH * ACT_ROW>;
