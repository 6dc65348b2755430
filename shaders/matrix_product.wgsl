// Product of GROUPS row groups and TOKENS tokens in one invocation. Its row groups lie LANES apart, so that neighbouring
// invocations read neighbouring words.
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

fn matrix_product(first: u32, segments: u32, row_group: u32, token: u32) -> Sums {
  var result: Sums;
  let last = step.count - 1u;
//#repeat t TOKENS
  let token$t = min(token + $tu, last);
//#end
  for (var i = 0u; i < segments; i++) {
    let tile = table[first + 2u * i];
    let extent = table[first + 2u * i + 1u];
    let s = Segment(tile.x, tile.y, tile.z, tile.w);
    for (var b = 0u; b < extent.x; b++) {
      let block = extent.y + b;
      var at = s.quants + b * BLOCK_WORDS * s.row_groups + row_group;
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
      // Not written out: there is enough to do in it, and far more to compile.
      for (var part = 0u; part < PARTS; part++) {
//#repeat t TOKENS
        let plain$t = inputs(token$t, block, part);
        sums$t.low += plain$t.low;
        sums$t.high += plain$t.high;
        let x$t = Columns(plain$t.low * LOW_STEP, plain$t.high * HIGH_STEP);
//#end
//#repeat g GROUPS
        let part$g = load_part(at + $gu * LANES, s.row_groups);
//#repeat r ROWS
        let w$g$r = columns$r(part$g);
//#repeat t TOKENS
//#if HALVES
        low$g$t[$r] += dot(w$g$r.low, x$t.low);
        high$g$t[$r] += dot(w$g$r.high, x$t.high);
//#else
        low$g$t[$r] += dot(w$g$r.low, x$t.low) + dot(w$g$r.high, x$t.high);
//#endif
//#end
//#end
//#end
        at += PART_WORDS * s.row_groups;
      }
//#repeat g GROUPS
      let k$g = scales(s, row_group + $gu * LANES, b);
//#repeat t TOKENS
      result.y$g$t += finish(k$g, low$g$t, high$g$t, sums$t);
//#end
//#end
    }
  }
  return result;
}
