// Eight columns of a group of four rows: component i of each vector belongs to row i of the group.
// a..d are columns 4p..4p+3 of a block of 32, e..h are columns 16+4p..16+4p+3, for part p in 0..3.
struct Eight {
  a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>,
  e: vec4<f32>, f: vec4<f32>, g: vec4<f32>, h: vec4<f32>,
}

// A tile in the weight arena; places are counted in vec4 of 32-bit words.
struct Segment { quants: u32, scales: u32, mins: u32, row_groups: u32 }
