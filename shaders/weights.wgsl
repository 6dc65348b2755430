// A tile in the weight arena; places are counted in vec4 of 32-bit words. Where minima are halves beside their scales,
// `mins` is a factor as f32.
struct Segment { quants: u32, scales: u32, mins: u32, row_groups: u32 }

// Eight columns of a row of weights or of an input: 4p..4p+3 and 16+4p..16+4p+3 of a block of 32, for part p in 0..3.
// Integer weights carry a power of two each, which LOW_STEP and HIGH_STEP of their kind, folded into the inputs, undo.
struct Columns { low: vec4<f32>, high: vec4<f32> }

// Inputs of a block summed over its parts: what minima and biases of weights are multiplied with.
alias InputSums = Columns;
