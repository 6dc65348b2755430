// Product of GROUPS row groups and TOKENS tokens in one invocation, over the blocks of its slice of the columns. Its row
// groups lie LANES apart, so that neighbouring invocations read neighbouring words.
struct Sums {
//#repeat g GROUPS
//#repeat t TOKENS
  y$g$t: vec4<f32>,
//#end
//#end
}

//#include inputs

fn input_block(row: u32, block: u32) -> InputBlock {
//#if FLOATS
  return InputBlock(vec4<f32>(), vec4<f32>());
//#else
  let at = ACT_BLOCKS + row * ACT_BLOCKS_ROW + block * 2u;
//#if BIASED
  return InputBlock(bitcast<vec4<f32>>(act_in[at]), bitcast<vec4<f32>>(act_in[at + 1u]));
//#else
  return InputBlock(bitcast<vec4<f32>>(act_in[at]), vec4<f32>());
//#endif
//#endif
}

fn tile_product(first: u32, segments: u32, row_group: u32, slice: u32, token: u32) -> Sums {
  var sums: Sums;
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
//#repeat g GROUPS
//#repeat t TOKENS
      var low$g$t = Accumulator();
      var high$g$t = Accumulator();
//#end
//#end
//#if LOOPED
      for (var part = 0u; part < 4u; part++) {
//#else
      const part = 0u;
//#endif
//#repeat p PARTS
//#repeat t TOKENS
      let x$p$t = inputs(token$t, block, part + $pu);
//#end
//#repeat g GROUPS
      let part$p$g = load_part(at + group$g, s.row_groups);
//#repeat r ROWS
      let w$p$g$r = columns$r(part$p$g);
//#repeat t TOKENS
      low$g$t[$r] += times_low(w$p$g$r, x$p$t);
      high$g$t[$r] += times_high(w$p$g$r, x$p$t);
//#end
//#end
//#end
      at += PART_WORDS * s.row_groups;
//#end
//#if LOOPED
      }
//#endif
//#repeat t TOKENS
      let input$t = input_block(token$t, block);
//#end
//#repeat g GROUPS
      let k$g = scales(s, group$g, b);
//#repeat t TOKENS
      sums.y$g$t += finish(k$g, vec4<f32>(low$g$t), vec4<f32>(high$g$t), input$t);
//#end
//#end
    }
  }
  return sums;
}
