// Product of GROUPS row groups and TOKENS tokens in one invocation, over the blocks of its slice of the columns. Its row
// groups lie LANES apart, so that neighbouring invocations read neighbouring words.
struct Sums {
//#repeat g GROUPS
//#repeat t TOKENS
  y$g$t: vec4<f32>,
//#end
//#end
}

fn inputs(row: u32, block: u32, part: u32) -> Columns {
  let at = row * ACT_ROW + block * 8u + part;
  return Columns(act_in[at], act_in[at + 4u]);
}

fn tile_product(first: u32, segments: u32, row_group: u32, slice: u32, token: u32) -> Sums {
  var result: Sums;
  let last = step.count - 1u;
//#repeat t TOKENS
  let token$t = min(token + $tu, last);
//#end
  for (var i = 0u; i < segments; i++) {
    let tile = table[first + 2u * i];
    let extent = table[first + 2u * i + 1u];
    let s = Segment(tile.x, tile.y, tile.z, tile.w);
//#repeat g GROUPS
    let group$g = min(row_group + $gu * LANES, s.row_groups - 1u);
//#end
    for (var b = slice; b < extent.x; b += SLICES) {
      let block = extent.y + b;
      var at = s.quants + b * BLOCK_WORDS * s.row_groups;
//#repeat t TOKENS
      var sums$t = InputSums();
//#repeat g GROUPS
      var low$g$t = vec4<f32>();
//#if HALVES
      var high$g$t = vec4<f32>();
//#else
      const high$g$t = vec4<f32>();
//#endif
//#end
//#end
//#if LOOPED
      for (var part = 0u; part < 4u; part++) {
//#else
      const part = 0u;
//#endif
//#repeat p PARTS
//#repeat t TOKENS
      let plain$p$t = inputs(token$t, block, part + $pu);
      sums$t.low += plain$p$t.low;
      sums$t.high += plain$p$t.high;
      let x$p$t = Columns(plain$p$t.low * LOW_STEP, plain$p$t.high * HIGH_STEP);
//#end
//#repeat g GROUPS
      let part$p$g = load_part(at + group$g, s.row_groups);
//#repeat r ROWS
      let w$p$g$r = columns$r(part$p$g);
//#repeat t TOKENS
//#if HALVES
      low$g$t[$r] += dot(w$p$g$r.low, x$p$t.low);
      high$g$t[$r] += dot(w$p$g$r.high, x$p$t.high);
//#else
      low$g$t[$r] += dot(w$p$g$r.low, x$p$t.low) + dot(w$p$g$r.high, x$p$t.high);
//#endif
//#end
//#end
//#end
      at += PART_WORDS * s.row_groups;
//#end
//#if LOOPED
      }
//#endif
//#repeat g GROUPS
      let k$g = scales(s, group$g, b);
//#repeat t TOKENS
      result.y$g$t += finish(k$g, low$g$t, high$g$t, sums$t);
//#end
//#end
    }
  }
  return result;
}
