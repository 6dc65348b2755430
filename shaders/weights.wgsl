// A tile in the weight arena; places are counted in vec4 of 32-bit words. Where minima are halves beside their scales,
// `mins` is a factor as f32.
struct Segment { quants: u32, scales: u32, mins: u32, row_groups: u32 }

// What quantize_block.wgsl has stored for a block of inputs.
struct InputBlock { sums: vec4<f32>, more: vec4<f32> }
