// Product of GROUPS row groups and one token in one invocation, over the blocks of its slice of the columns. Its row groups
// lie LANES apart, so that neighbouring invocations read neighbouring words. Row by row, since processors have few registers.
struct Sums {
//#repeat g GROUPS
  y$g: vec4<f32>,
//#end
}

fn inputs(block: u32, part: u32) -> Columns {
  let at = block * 8u + part;
  return Columns(act_in[at], act_in[at + 4u]);
}

fn vector_product(first: u32, segments: u32, row_group: u32, slice: u32) -> Sums {
  let bits = weight_bits();
//#repeat g GROUPS
  var y$g = vec4<f32>();
//#end
  for (var i = 0u; i < segments; i++) {
    let tile = table[first + 2u * i];
    let extent = table[first + 2u * i + 1u];
    let s = Segment(tile.x, tile.y, tile.z, tile.w);
    let part_words = PART_WORDS * s.row_groups;
    for (var b = slice; b < extent.x; b += SLICES) {
      var sums = InputSums();
//#repeat p PARTS
      let plain$p = inputs(extent.y + b, $pu);
      sums.low += plain$p.low;
      sums.high += plain$p.high;
      let x$p = Columns(plain$p.low * LOW_STEP, plain$p.high * HIGH_STEP);
//#end
      let at = s.quants + b * BLOCK_WORDS * s.row_groups + row_group;
//#repeat g GROUPS
//#repeat r ROWS
      var low$g$r = 0.0;
//#if HALVES
      var high$g$r = 0.0;
//#else
      const high$g$r = 0.0;
//#endif
//#end
//#repeat p PARTS
      let part$g$p = load_part(at + $gu * LANES + $pu * part_words, s.row_groups);
//#repeat r ROWS
//#if HALVES
      low$g$r += low_product$r(part$g$p, bits, x$p.low);
      high$g$r += high_product$r(part$g$p, bits, x$p.high);
//#else
      low$g$r += product$r(part$g$p, bits, x$p);
//#endif
//#end
//#end
      let k$g = scales(s, row_group + $gu * LANES, b);
      y$g += finish(k$g, vec4<f32>(low$g0, low$g1, low$g2, low$g3), vec4<f32>(high$g0, high$g1, high$g2, high$g3), sums);
//#end
    }
  }
  var result: Sums;
//#repeat g GROUPS
  result.y$g = y$g;
//#end
  return result;
}
